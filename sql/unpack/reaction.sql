-- One row per incoming_trajectory: its reaction. What is not finite, and a reward outside 0..1, could not be read.
select
    incoming_trajectory.trajectory_id,
    trajectory.reaction.reader,
    trajectory.reaction.text,
    case when isfinite(trajectory.reaction.value) then trajectory.reaction.value end as value,
    known_reward(trajectory.reward) as reward,
    case
        when len(list_filter(trajectory.reaction.probabilities, lambda p: not isfinite(p))) = 0
            then trajectory.reaction.probabilities
        else []
    end as probabilities,
    incoming_measure.measures
from incoming_trajectory
left join incoming_measure on incoming_measure.trajectory_id = incoming_trajectory.trajectory_id
