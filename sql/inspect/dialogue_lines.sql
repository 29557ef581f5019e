-- One row per turn of trajectory $id; where the turn is a node of its tree, with N, Q, its place among the replies (by Q) and its pairs.
-- Internal
-- $id: a dialogue
with held as (
    select
        trajectory_id,
        tree_id,
        simulation,
        opening_turns
    from outcome
    where trajectory_id = $id::varchar
),
sibling as (
    select
        node.tree_id,
        node.node_id,
        node_value.visit_count,
        node_value.q_value,
        count(node_value.q_value) over (partition by node.tree_id, node.parent_id) as siblings,
        rank() over (partition by node.tree_id, node.parent_id order by node_value.q_value desc nulls last) as place
    from held
    join node on node.tree_id = held.tree_id
    join node_value on node_value.tree_id = node.tree_id and node_value.node_id = node.node_id
),
paired as (
    select
        tree_id,
        chosen_id as node_id,
        'chosen' as side
    from pair
    where accepted and tree_id in (select held.tree_id from held)
    union
    select
        tree_id,
        rejected_id,
        'rejected'
    from pair
    where accepted and tree_id in (select held.tree_id from held)
)
select
    turn.turn_index,
    turn.role,
    turn.text,
    turn.attempts,
    turn.flaw,
    turn.redrawn,
    turn.turn_index < held.opening_turns as in_opening,
    sibling.visit_count as visits,
    sibling.q_value,
    sibling.place,
    sibling.siblings,
    string_agg(distinct paired.side, ', ' order by paired.side) as sides
from held
join turn on turn.trajectory_id = held.trajectory_id
left join visit
    on visit.tree_id = held.tree_id
    and visit.simulation = held.simulation
    and visit.depth > 0
    and visit.depth = turn.turn_index - held.opening_turns::integer + 1
left join sibling on sibling.tree_id = visit.tree_id and sibling.node_id = visit.node_id
left join paired on paired.tree_id = visit.tree_id and paired.node_id = visit.node_id
group by
    turn.turn_index,
    turn.role,
    turn.text,
    turn.attempts,
    turn.flaw,
    turn.redrawn,
    held.opening_turns,
    sibling.visit_count,
    sibling.q_value,
    sibling.place,
    sibling.siblings
order by turn.turn_index
