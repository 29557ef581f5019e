-- One row per incoming_trajectory.
select
    trajectory_id,
    cycle_id,
    purpose,
    policy,
    simulator,
    tree_id,
    simulation,
    root_id,
    trajectory.scenario_id,
    seed,
    trajectory.exchanges,
    trajectory.end_reason,
    utc_now() as stored_at
from incoming_trajectory
