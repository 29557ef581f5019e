-- One row per simulation of a cycle's trees, as the report shows it: the last node that it went through,
-- the turns played out below that node, and the user's answer to the exit survey.
-- Internal
-- $scenarios: a list of scenario ids; all by default
with shown as (
    select
        outcome.tree_id,
        outcome.scenario_id,
        outcome.trajectory_id,
        outcome.simulation,
        outcome.opening_turns,
        outcome.end_reason,
        outcome.reader,
        outcome.reaction_text,
        outcome.value,
        outcome.reward
    from outcome
    where
        outcome.purpose = 'search'
        and outcome.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
        and ($scenarios::varchar[] is null or list_contains($scenarios::varchar[], outcome.scenario_id))
),
path as (
    select
        visit.tree_id,
        visit.simulation,
        max(visit.depth) as depth,
        arg_max(visit.node_id, visit.depth) as node_id
    from shown
    join visit on visit.tree_id = shown.tree_id and visit.simulation = shown.simulation
    group by visit.tree_id, visit.simulation
),
played_out as (
    select
        shown.trajectory_id,
        list({'role': turn.role, 'text': turn.text, 'flaw': turn.flaw} order by turn.turn_index) as turns
    from shown
    join path on path.tree_id = shown.tree_id and path.simulation = shown.simulation
    join turn
        on turn.trajectory_id = shown.trajectory_id
        and turn.turn_index >= shown.opening_turns + path.depth
    group by shown.trajectory_id
)
select
    shown.tree_id,
    shown.scenario_id,
    shown.trajectory_id,
    shown.simulation,
    path.node_id as leaf_id,
    coalesce(played_out.turns, []) as turns,
    shown.end_reason,
    shown.reader,
    shown.reaction_text,
    shown.value,
    shown.reward
from shown
join path on path.tree_id = shown.tree_id and path.simulation = shown.simulation
left join played_out on played_out.trajectory_id = shown.trajectory_id
order by shown.tree_id, shown.simulation
