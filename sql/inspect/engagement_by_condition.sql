-- One row per purpose, policy, simulator, domain and level of a user condition: how the users ended up. `measures` are the means of the
-- domain's own measures, such as `relief` in points of intensity or `donation_usd`; three of them have a column as well.
-- Answers: How did users end up?
-- $scenarios: a list of scenarios; all by default
-- $together: true for one row over all simulators, whose name is then empty; false by default
with condition as (
    select
        purpose,
        coalesce(policy, '') as policy,
        case when $together::boolean then '' else coalesce(simulator, '') end as simulator,
        coalesce(domain, '') as domain,
        unnest(json_keys(user_condition)) as condition,
        user_condition,
        reader,
        reward,
        measures
    from outcome
    where
        cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
        and coalesce(list_contains($scenarios::varchar[], scenario_id), true)
),
levelled as (
    select
        purpose,
        policy,
        simulator,
        domain,
        condition,
        json_extract_string(user_condition, '$."' || condition || '"') as level,
        reader,
        reward,
        measures
    from condition
    where condition not in ('person', 'situation')
),
measure as (
    select
        purpose,
        policy,
        simulator,
        domain,
        condition,
        level,
        unnest(map_entries(measures)) as entry
    from levelled
),
measure_mean as (
    select
        purpose,
        policy,
        simulator,
        domain,
        condition,
        level,
        entry.key as name,
        round(avg(entry.value), 3) as mean
    from measure
    group by purpose, policy, simulator, domain, condition, level, entry.key
),
measured as (
    select
        purpose,
        policy,
        simulator,
        domain,
        condition,
        level,
        map(list(name order by name), list(mean order by name)) as measures
    from measure_mean
    group by purpose, policy, simulator, domain, condition, level
),
ended as (
    select
        purpose,
        policy,
        simulator,
        domain,
        condition,
        level,
        count(*) as dialogues,
        count(*) filter (where reward is null and reader != 'unasked') as unreadable,
        round(avg(reward), 3) as reward
    from levelled
    group by purpose, policy, simulator, domain, condition, level
)
select
    ended.purpose,
    ended.policy,
    ended.simulator,
    ended.domain,
    ended.condition,
    ended.level,
    ended.dialogues,
    ended.unreadable,
    ended.reward,
    measured.measures['relief'] as relief,
    measured.measures['released'] as released,
    measured.measures['donation_usd'] as donation_usd,
    measured.measures
from ended
left join measured
    on measured.purpose = ended.purpose
    and measured.policy = ended.policy
    and measured.simulator = ended.simulator
    and measured.domain = ended.domain
    and measured.condition = ended.condition
    and measured.level is not distinct from ended.level
order by ended.purpose, ended.policy, ended.simulator, ended.domain, ended.condition, ended.level
