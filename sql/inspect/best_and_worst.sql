-- One row per trajectory among the five best and five worst of each domain and purpose, with the user's last words.
-- Answers: What was said?
with ranked as (
    select
        domain,
        purpose,
        policy,
        trajectory_id,
        exchanges,
        value,
        reward,
        row_number() over (partition by domain, purpose order by reward desc, trajectory_id) as from_best,
        row_number() over (partition by domain, purpose order by reward, trajectory_id) as from_worst
    from outcome
    where
        reward is not null
        and cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
)
select
    ranked.domain,
    ranked.purpose,
    ranked.policy,
    case when ranked.from_best <= ranked.from_worst then 'best' else 'worst' end as end_of_list,
    round(ranked.reward, 3) as reward,
    round(ranked.value, 2) as survey_value,
    ranked.exchanges,
    arg_max(turn.text, turn.turn_index) as last_user_turn,
    ranked.trajectory_id as id
from ranked
join turn on turn.trajectory_id = ranked.trajectory_id and turn.role = 'user'
where ranked.from_best <= 5 or ranked.from_worst <= 5
group by
    ranked.domain,
    ranked.purpose,
    ranked.policy,
    ranked.from_best,
    ranked.from_worst,
    ranked.reward,
    ranked.value,
    ranked.exchanges,
    ranked.trajectory_id
order by ranked.domain, ranked.purpose, ranked.reward desc, ranked.trajectory_id
