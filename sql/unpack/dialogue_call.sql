-- One row per dialogue of incoming_trajectory: its calls, still nested.
select
    cycle_id,
    purpose,
    trajectory_id as origin_id,
    calls
from incoming_trajectory
