-- One row per cycle and simulator of the last 30 cycles up to this one, the oldest first: what was searched, the pairs that were accepted, and
-- the candidate's gain over all domains with its interval; the gain is empty where no candidate was compared.
-- Internal
with until as (
    select cycle.rowid as place
    from cycle
    where cycle.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
),
searched as (
    select
        cycle_id,
        count(distinct tree_id) as trees,
        count(*) as simulations,
        round(avg(reward), 9) as reward_mean -- sums of several threads differ in their last digits
    from outcome
    where purpose = 'search'
    group by cycle_id
),
last_cycle as (
    select
        cycle.cycle_id,
        cycle.started_at,
        cycle.rowid as place,
        searched.trees,
        searched.simulations,
        searched.reward_mean
    from cycle
    join searched on searched.cycle_id = cycle.cycle_id
    where cycle.rowid <= (select until.place from until)
    order by cycle.rowid desc
    limit 30
),
counted as (
    select
        cycle_id,
        count(*) as pairs,
        count(*) filter (where accepted) as accepted
    from pair
    group by cycle_id
)
select
    last_cycle.cycle_id,
    last_cycle.started_at,
    last_cycle.trees,
    last_cycle.simulations,
    last_cycle.reward_mean,
    coalesce(counted.pairs, 0) as pairs,
    coalesce(counted.accepted, 0) as accepted,
    evaluation.policy,
    evaluation.simulator,
    evaluation.value as gain,
    evaluation.low,
    evaluation.high,
    evaluation.n as scenarios
from last_cycle
left join counted on counted.cycle_id = last_cycle.cycle_id
left join evaluation
    on evaluation.cycle_id = last_cycle.cycle_id
    and evaluation.domain = 'all'
    and evaluation.metric = 'difference'
order by last_cycle.place, evaluation.simulator, evaluation.policy
