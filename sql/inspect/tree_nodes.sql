-- One row per node of tree $tree, parents before children, with N, Q and the standard error of Q: over the sampled user turns of a reply,
-- else over simulations; empty where one figure alone gives no error. `side` names its accepted pairs.
-- Internal
-- $tree: a search tree
with visited as (
    select
        visit.node_id,
        count(*) as visits,
        avg(known_reward(reaction.reward)) as q_value,
        stddev_samp(known_reward(reaction.reward)) / sqrt(count(known_reward(reaction.reward))) as q_error
    from visit
    join trajectory on trajectory.tree_id = visit.tree_id and trajectory.simulation = visit.simulation
    join reaction on reaction.trajectory_id = trajectory.trajectory_id
    where visit.tree_id = $tree::varchar
    group by visit.node_id
),
over_turns as (
    select
        node.parent_id as node_id,
        stddev_samp(visited.q_value) / sqrt(count(visited.q_value)) as q_error
    from node
    join visited on visited.node_id = node.node_id
    where node.tree_id = $tree::varchar and node.role = 'user'
    group by node.parent_id
),
paired as (
    select
        chosen_id as node_id,
        'chosen' as side
    from pair
    where accepted and tree_id = $tree::varchar
    union
    select
        rejected_id,
        'rejected'
    from pair
    where accepted and tree_id = $tree::varchar
),
sided as (
    select
        node_id,
        string_agg(side, ', ' order by side) as side
    from paired
    group by node_id
)
select
    node.node_id,
    node.parent_id,
    node.kind,
    node.depth,
    node.spine_index,
    node.role,
    node.text,
    node.attempts,
    node.flaw,
    node.sample_count,
    node.end_reason,
    coalesce(visited.visits, 0) as visits,
    visited.q_value,
    case when node.role = 'assistant' then over_turns.q_error else visited.q_error end as q_error,
    sided.side
from node
left join visited on visited.node_id = node.node_id
left join over_turns on over_turns.node_id = node.node_id
left join sided on sided.node_id = node.node_id
where node.tree_id = $tree::varchar
order by node.node_id
