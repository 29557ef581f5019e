-- One row per trajectory whose exit survey could not be read, or gave no reward: the answer, and the user's last words before it.
-- Answers: What went wrong?
select
    outcome.domain,
    outcome.purpose,
    outcome.reader,
    outcome.reaction_text as answer,
    arg_max(turn.text, turn.turn_index) as last_user_turn,
    outcome.trajectory_id as id
from outcome
left join turn on turn.trajectory_id = outcome.trajectory_id and turn.role = 'user'
where
    outcome.reward is null
    and outcome.reader != 'unasked'
    and outcome.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
group by outcome.domain, outcome.purpose, outcome.reader, outcome.reaction_text, outcome.trajectory_id
order by outcome.domain, outcome.purpose, outcome.trajectory_id
