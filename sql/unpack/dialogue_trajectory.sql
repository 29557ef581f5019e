-- One row per dialogue of incoming_dialogue that is not stored yet, as a trajectory that is still nested.
select
    incoming_dialogue.trajectory_id,
    incoming_dialogue.cycle_id,
    incoming_dialogue.purpose,
    incoming_dialogue.policy,
    incoming_dialogue.simulator,
    null::varchar as tree_id,
    null::integer as simulation,
    null::integer as root_id,
    incoming_dialogue.seed,
    incoming_dialogue.trajectory,
    incoming_dialogue.calls
from incoming_dialogue
anti join trajectory on trajectory.trajectory_id = incoming_dialogue.trajectory_id
qualify row_number() over (partition by incoming_dialogue.trajectory_id) = 1
