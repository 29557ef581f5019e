-- One row per trajectory: what it was held for, its scenario and the reaction it ended in.
create or replace view outcome as
select
    trajectory.cycle_id,
    trajectory.trajectory_id,
    trajectory.purpose,
    trajectory.policy,
    trajectory.simulator,
    trajectory.tree_id,
    trajectory.simulation,
    trajectory.seed,
    trajectory.scenario_id,
    scenario.domain,
    scenario.user_condition,
    json_array_length(scenario.opening) as opening_turns,
    trajectory.exchanges,
    trajectory.end_reason,
    reaction.reader,
    reaction.text as reaction_text,
    case when isfinite(reaction.value) then reaction.value end as value,
    known_reward(reaction.reward) as reward
from trajectory
join reaction on reaction.trajectory_id = trajectory.trajectory_id
left join scenario on scenario.scenario_id = trajectory.scenario_id
