-- One row per reply of candidate_reply in domain $domain that says what must not be taught: its text matches $pattern, as it stands or in its
-- plain form.
-- The pattern is a parameter because one that stands in a table is compiled anew for every row.
select
    tree_id,
    reply_id
from candidate_reply
where domain = $domain and (regexp_matches(text, $pattern, 'i') or regexp_matches(plain_text, $pattern, 'i'))
