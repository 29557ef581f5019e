-- One row per reply of candidate_reply in domain $domain that the deception check finds: its text is one of $texts.
select
    tree_id,
    reply_id
from candidate_reply
where domain = $domain and text in (select unnest($texts))
