-- One row per trajectory $id: who the user is, what the dialogue was held for, how it ended.
-- Internal
-- $id: a dialogue
select
    outcome.trajectory_id as id,
    outcome.cycle_id as cycle,
    outcome.purpose,
    outcome.policy,
    outcome.simulator,
    outcome.scenario_id as scenario,
    scenario.split,
    outcome.domain,
    outcome.user_condition,
    outcome.opening_turns,
    outcome.simulation,
    count(distinct same.trajectory_id) as simulations,
    root.spine_index as root_exchange,
    max(visit.depth) as tree_depth,
    outcome.exchanges,
    outcome.end_reason,
    outcome.reader,
    outcome.reaction_text,
    outcome.value,
    outcome.reward,
    outcome.measures
from outcome
join trajectory on trajectory.trajectory_id = outcome.trajectory_id
left join scenario on scenario.scenario_id = outcome.scenario_id
left join node as root on root.tree_id = trajectory.tree_id and root.node_id = trajectory.root_id
left join trajectory as same on same.tree_id = trajectory.tree_id
left join visit on visit.tree_id = trajectory.tree_id and visit.simulation = trajectory.simulation
where outcome.trajectory_id = $id::varchar
group by
    outcome.trajectory_id,
    outcome.cycle_id,
    outcome.purpose,
    outcome.policy,
    outcome.simulator,
    outcome.scenario_id,
    scenario.split,
    outcome.domain,
    outcome.user_condition,
    outcome.opening_turns,
    outcome.simulation,
    root.spine_index,
    outcome.exchanges,
    outcome.end_reason,
    outcome.reader,
    outcome.reaction_text,
    outcome.value,
    outcome.reward,
    outcome.measures
