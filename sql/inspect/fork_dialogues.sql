-- One row per continuation of dialogue $id from turn $turn by one policy with one simulator.
-- Internal
-- $id: the forked dialogue
-- $turn: place of the turn, from 0
-- $policy: label of the assistant
-- $simulator: label of the simulated user
select
    trajectory_id,
    text,
    edited,
    seed,
    reward
from fork_outcome
where
    forked_id = $id::varchar
    and turn_index = $turn::integer
    and policy = $policy::varchar
    and simulator = $simulator::varchar
order by edited, text, seed
