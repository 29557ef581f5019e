-- One row per purpose, policy, simulator, domain and level of a user condition: how the users ended up. `relief` is in points of
-- intensity, `released` is the share with a final intensity of at most 2, `donation_usd` of at most 2.
with condition as (
    select
        purpose,
        coalesce(policy, '') as policy,
        coalesce(simulator, '') as simulator,
        coalesce(domain, '') as domain,
        unnest(json_keys(user_condition)) as condition,
        user_condition,
        value,
        reward
    from outcome
    where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
)
select
    purpose,
    policy,
    simulator,
    domain,
    condition,
    json_extract_string(user_condition, '$."' || condition || '"') as level,
    count(*) as dialogues,
    count(*) - count(reward) as unreadable,
    round(avg(reward), 3) as reward,
    round(avg((user_condition ->> '$.initial_intensity')::double - value) filter (where domain = 'emotional_support'), 3)
    as relief,
    round(avg((value <= 2)::integer) filter (where domain = 'emotional_support'), 3) as released,
    round(avg(value) filter (where domain = 'persuasion'), 3) as donation_usd
from condition
where condition not in ('person', 'situation')
group by purpose, policy, simulator, domain, condition, level
order by purpose, policy, simulator, domain, condition, level
