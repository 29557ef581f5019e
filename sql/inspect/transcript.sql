-- One row per turn of trajectory $id, and a last one with the answer to the exit survey. Without id: the best one of the cycle's own.
-- Answers: What was said?
-- $id: a dialogue; the best of the cycle's own by default
with best as (
    select trajectory_id
    from outcome
    where
        purpose in ('search', 'evaluation')
        and cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    order by reward desc nulls last, trajectory_id
    limit 1
),
shown as (
    select
        trajectory_id,
        reader,
        reaction_text,
        value,
        reward
    from outcome
    where trajectory_id = coalesce($id::varchar, (select best.trajectory_id from best))
),
line as (
    select
        turn.turn_index,
        turn.role as speaker,
        turn.text,
        turn.attempts,
        turn.flaw,
        null::double as survey_value,
        null::double as reward
    from shown
    join turn on turn.trajectory_id = shown.trajectory_id
    union all by name
    select
        null as turn_index,
        'survey (' || reader || ')' as speaker,
        reaction_text as text,
        null as attempts,
        null as flaw,
        round(value, 3) as survey_value,
        round(reward, 3) as reward
    from shown
)
select
    speaker,
    text,
    attempts,
    flaw,
    survey_value,
    reward
from line
order by turn_index nulls last
