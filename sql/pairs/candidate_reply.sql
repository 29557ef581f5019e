-- One row per reply of candidate_pair whose pair has good figures: its text as it is compared, and what speaks against it.
-- plain_form, has_thought and leaks_role are the rules for sampled turns (engage/store/pair_extraction.py).
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
),
-- one row per node on the path of a dialogue in which the user spoke of harming themselves
troubled as (
    select distinct
        visit.tree_id,
        visit.node_id
    from trajectory
    join visit on visit.tree_id = trajectory.tree_id and visit.simulation = trajectory.simulation
    where trajectory.purpose = 'search' and trajectory.end_reason = 'crisis'
)
select
    reply.tree_id,
    reply.reply_id,
    reply.domain,
    lower(trim(node.text)) as text,
    plain_form(lower(trim(node.text))) as plain_text,
    not regexp_matches(node.text, '[\pL\pN\p{So}]') as is_empty,
    node.flaw is not null as is_flawed,
    has_thought(node.text) as has_thought,
    leaks_role(reply.domain, node.text) as leaks_role,
    troubled.node_id is not null as led_to_crisis
from reply
join node on node.tree_id = reply.tree_id and node.node_id = reply.reply_id
left join troubled on troubled.tree_id = reply.tree_id and troubled.node_id = reply.reply_id
