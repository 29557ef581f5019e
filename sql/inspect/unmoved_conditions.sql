-- One row per domain and level of a user condition in the searches, the least moved first. `best` and `worst` are the mean over its
-- scenarios of their best and worst dialogue; a scenario is `unmoved` if they differ by less than $range: whatever was said, the
-- answer stayed the same.
-- Answers: How did users end up?
-- $range: reward that best and worst dialogue differ by in a moved scenario; 0.1 by default
with per_scenario as (
    select
        domain,
        scenario_id,
        any_value(user_condition) as user_condition,
        count(*) as dialogues,
        avg(reward) as reward,
        max(reward) as best,
        min(reward) as worst
    from search_outcome
    where
        reward is not null
        and cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by domain, scenario_id
),
condition as (
    select
        domain,
        unnest(json_keys(user_condition)) as condition,
        user_condition,
        dialogues,
        reward,
        best,
        worst
    from per_scenario
)
select
    domain,
    condition,
    json_extract_string(user_condition, '$."' || condition || '"') as level,
    count(*) as scenarios,
    count(*) filter (where best - worst < coalesce($range::double, 0.1)) as unmoved,
    sum(dialogues)::bigint as dialogues,
    round(avg(reward), 3) as reward,
    round(avg(worst), 3) as worst,
    round(avg(best), 3) as best
from condition
where condition not in ('person', 'situation')
group by domain, condition, level
order by domain, unmoved / count(*) desc, avg(best), condition, level
