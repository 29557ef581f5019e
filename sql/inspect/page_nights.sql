-- One row per cycle and simulator of the last 30 cycles up to this one, the oldest first: what was searched, the pairs that were accepted, and
-- the latest candidate's gain over all domains with its interval; the gain is empty where no candidate was compared.
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
),
gained as (
    select
        cycle_id,
        policy,
        simulator,
        value,
        low,
        high,
        n
    from evaluation
    where
        domain = 'all'
        and metric = 'difference'
        and starts_with(policy, 'candidate') -- a comparison of policies may share the cycle
    qualify row_number() over (partition by cycle_id, simulator order by stored_at desc nulls last, policy) = 1
)
select
    last_cycle.cycle_id,
    last_cycle.started_at,
    last_cycle.trees,
    last_cycle.simulations,
    last_cycle.reward_mean,
    coalesce(counted.pairs, 0) as pairs,
    coalesce(counted.accepted, 0) as accepted,
    gained.policy,
    gained.simulator,
    gained.value as gain,
    gained.low,
    gained.high,
    gained.n as scenarios
from last_cycle
left join counted on counted.cycle_id = last_cycle.cycle_id
left join gained on gained.cycle_id = last_cycle.cycle_id
order by last_cycle.place, gained.simulator
