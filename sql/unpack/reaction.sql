-- One row per incoming_trajectory: its reaction.
select
    trajectory_id,
    trajectory.reaction.reader,
    trajectory.reaction.text,
    trajectory.reaction.value,
    trajectory.reward,
    trajectory.reaction.probabilities
from incoming_trajectory
