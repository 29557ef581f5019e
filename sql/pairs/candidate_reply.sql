-- One row per reply of candidate_pair whose pair has good figures: its text as it is compared, and what speaks against it.
with reply as (
    select
        tree_id,
        domain,
        chosen_id as reply_id
    from candidate_pair
    where drop_reason is null
    union
    select
        tree_id,
        domain,
        rejected_id
    from candidate_pair
    where drop_reason is null
)
select
    reply.tree_id,
    reply.reply_id,
    reply.domain,
    lower(trim(node.text)) as text,
    not regexp_matches(node.text, '[\pL\pN]') as is_empty,
    node.flaw is not null as is_flawed,
    role_leak(node.text) as leaks_role
from reply
join node on node.tree_id = reply.tree_id and node.node_id = reply.reply_id
