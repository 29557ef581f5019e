-- One row per purpose, policy, simulator and scenario: how its user ended up. A search holds many dialogues of one scenario. `measures` are
-- the means of the domain's own measures, such as `relief` in points of intensity or `donation_usd`; three of them have a column as well.
-- Answers: How did users end up?
with ended as (
    select
        purpose,
        coalesce(policy, '') as policy,
        coalesce(simulator, '') as simulator,
        coalesce(domain, '') as domain,
        scenario_id,
        exchanges,
        reader,
        reward,
        measures
    from outcome
    where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
),
measure as (
    select
        purpose,
        policy,
        simulator,
        scenario_id,
        unnest(map_entries(measures)) as entry
    from ended
),
measure_mean as (
    select
        purpose,
        policy,
        simulator,
        scenario_id,
        entry.key as name,
        round(avg(entry.value), 3) as mean
    from measure
    group by purpose, policy, simulator, scenario_id, entry.key
),
measured as (
    select
        purpose,
        policy,
        simulator,
        scenario_id,
        map(list(name order by name), list(mean order by name)) as measures
    from measure_mean
    group by purpose, policy, simulator, scenario_id
)
select
    ended.purpose,
    ended.policy,
    ended.simulator,
    ended.domain,
    ended.scenario_id as scenario,
    count(*) as dialogues,
    count(*) filter (where ended.reward is null and ended.reader != 'unasked') as unreadable,
    round(avg(ended.reward), 3) as reward,
    round(min(ended.reward), 3) as reward_lowest,
    round(max(ended.reward), 3) as reward_highest,
    measured.measures['relief'] as relief,
    measured.measures['released'] as released,
    measured.measures['donation_usd'] as donation_usd,
    measured.measures,
    round(avg(ended.exchanges), 2) as exchanges
from ended
left join measured
    on measured.purpose = ended.purpose
    and measured.policy = ended.policy
    and measured.simulator = ended.simulator
    and measured.scenario_id = ended.scenario_id
group by ended.purpose, ended.policy, ended.simulator, ended.domain, ended.scenario_id, measured.measures
order by ended.purpose, ended.policy, ended.simulator, ended.domain, ended.scenario_id
