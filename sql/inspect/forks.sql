-- One row per forked dialogue, turn, policy, simulator and text said there instead: mean rewards of the continuations with that text and
-- with the turn as it was, over the pairs with the same seed. `change_error` is the standard error of the mean change over these pairs:
-- chance in how this one dialogue goes on, not the difference between users.
-- Answers: Which replies are better, and how sure is that?
-- $dialogue: the beginning of a forked dialogue's id; all by default
with paired as (
    select
        edited.cycle_id,
        edited.forked_id,
        edited.turn_index,
        edited.policy,
        edited.simulator,
        edited.text,
        unedited.reward as reward_unedited,
        edited.reward as reward_edited,
        edited.reward - unedited.reward as change
    from fork_outcome as edited
    join fork_outcome as unedited
        on unedited.forked_id = edited.forked_id
        and unedited.turn_index = edited.turn_index
        and unedited.policy = edited.policy
        and unedited.simulator = edited.simulator
        and unedited.seed = edited.seed
        and not unedited.edited
    where edited.edited and starts_with(edited.forked_id, coalesce($dialogue::varchar, ''))
)
select
    forked_id as dialogue,
    turn_index as turn,
    policy,
    simulator,
    text,
    count(change) as pairs,
    count(*) - count(change) as unreadable,
    round(avg(reward_unedited) filter (where change is not null), 4) as reward_unedited,
    round(avg(reward_edited) filter (where change is not null), 4) as reward_edited,
    round(avg(change), 4) as change,
    round(stddev_samp(change) / sqrt(count(change)), 4) as change_error
from paired
group by cycle_id, forked_id, turn_index, policy, simulator, text
order by cycle_id, forked_id, turn_index, policy, simulator, text
