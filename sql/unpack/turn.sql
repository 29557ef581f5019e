-- One row per turn of incoming_trajectory.
with unpacked as (
    select
        trajectory_id,
        unnest(trajectory.dialogue.turns) as item,
        unnest(range(len(trajectory.dialogue.turns))) as turn_index
    from incoming_trajectory
)
select
    trajectory_id,
    turn_index,
    item.role,
    item.text,
    item.attempts,
    item.flaw,
    item.first_flaw,
    item.redrawn
from unpacked
