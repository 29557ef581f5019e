-- One row per trajectory of all cycles and purposes: what it was held for, its scenario and the reaction it ended in. For means take
-- search_outcome, evaluation_outcome or human_outcome.
create or replace view outcome as
select
    trajectory.cycle_id,
    trajectory.trajectory_id,
    trajectory.purpose,
    trajectory.policy,
    trajectory.simulator,
    trajectory.tree_id,
    trajectory.simulation,
    trajectory.seed, -- the cycle's in a search, else the dialogue's own
    trajectory.scenario_id,
    scenario.domain, -- kind of conversation; null where the scenario is not stored
    scenario.user_condition,
    json_array_length(scenario.opening) as opening_turns, -- turns before anybody is simulated; null where the scenario is not stored
    trajectory.exchanges,
    trajectory.end_reason, -- why the dialogue ended: farewell, max_exchanges, crisis, a flaw, or the domain's own word
    reaction.reader,
    reaction.text as reaction_text, -- the answer as given, or the most probable choice
    case when isfinite(reaction.value) then reaction.value end as value,
    known_reward(reaction.reward) as reward,
    reaction.measures,
    trajectory.stored_at
from trajectory
join reaction on reaction.trajectory_id = trajectory.trajectory_id
left join scenario on scenario.scenario_id = trajectory.scenario_id
