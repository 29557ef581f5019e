-- One row per incoming_trajectory with a known scenario and an answer that could be read: what its domain's measures are computed from.
select
    incoming_trajectory.trajectory_id,
    scenario.domain,
    scenario.user_condition,
    incoming_trajectory.trajectory.reaction.value
from incoming_trajectory
join scenario on scenario.scenario_id = incoming_trajectory.trajectory.scenario_id
where isfinite(incoming_trajectory.trajectory.reaction.value)
