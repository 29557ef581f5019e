-- One row per trajectory $id: all that is kept of it, with its scenario, its turns and the requests made for it (in a search, for its whole
-- tree). `tree_depth` counts its turns after the opening that are nodes of the tree.
-- Internal
-- $id: a dialogue
with said as (
    select
        trajectory_id,
        list(
            {
                'role': role, 'text': text, 'attempts': attempts, 'flaw': flaw, 'first_flaw': first_flaw, 'redrawn': redrawn
            }
            order by turn_index
        ) as turns
    from turn
    where trajectory_id = $id::varchar
    group by trajectory_id
),
asked as (
    select list({'key': key, 'side': side, 'kind': kind, 'samples': samples} order by rowid) as calls
    from engine_call
    where
        origin_id = $id::varchar
        or origin_id = (select trajectory.tree_id from trajectory where trajectory.trajectory_id = $id::varchar)
)
select
    trajectory.trajectory_id as id,
    trajectory.cycle_id,
    trajectory.purpose,
    trajectory.policy,
    trajectory.simulator,
    trajectory.simulation,
    trajectory.seed,
    trajectory.scenario_id,
    trajectory.exchanges,
    trajectory.end_reason,
    scenario.domain,
    scenario.user_condition,
    scenario.opening,
    scenario.source,
    reaction.reader,
    reaction.text as reaction_text,
    reaction.value,
    reaction.reward,
    reaction.probabilities,
    said.turns,
    asked.calls,
    (
        select max(visit.depth)
        from visit
        where visit.tree_id = trajectory.tree_id and visit.simulation = trajectory.simulation
    ) as tree_depth
from trajectory
join reaction on reaction.trajectory_id = trajectory.trajectory_id
join said on said.trajectory_id = trajectory.trajectory_id
left join scenario on scenario.scenario_id = trajectory.scenario_id
cross join asked
where trajectory.trajectory_id = $id::varchar
