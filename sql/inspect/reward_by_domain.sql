-- One row per domain of a cycle's searches: how much was searched, and what reward came of it.
-- Answers: How did users end up?
select
    outcome.domain,
    count(distinct outcome.tree_id) as trees,
    count(*) as simulations,
    count(*) filter (where outcome.reward is null and outcome.reader != 'unasked') as unreadable,
    round(avg(outcome.reward), 4) as reward_mean,
    round(stddev_samp(outcome.reward), 4) as reward_sd,
    round(avg(outcome.value), 4) as survey_value_mean,
    round(avg(outcome.exchanges), 2) as exchanges_mean
from outcome
where
    outcome.purpose = 'search'
    and outcome.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
group by outcome.domain
order by outcome.domain
