-- One row per purpose, policy, simulator and scenario: how its user ended up. A search holds many dialogues of one scenario.
-- `relief` is in points of intensity, `released` is the share with a final intensity of at most 2, `donation_usd` of at most 2.
select
    purpose,
    coalesce(policy, '') as policy,
    coalesce(simulator, '') as simulator,
    coalesce(domain, '') as domain,
    scenario_id as scenario,
    count(*) as dialogues,
    count(*) - count(reward) as unreadable,
    round(avg(reward), 3) as reward,
    round(min(reward), 3) as reward_lowest,
    round(max(reward), 3) as reward_highest,
    round(avg((user_condition ->> '$.initial_intensity')::double - value) filter (where domain = 'emotional_support'), 3)
    as relief,
    round(avg((value <= 2)::integer) filter (where domain = 'emotional_support'), 3) as released,
    round(avg(value) filter (where domain = 'persuasion'), 3) as donation_usd,
    round(avg(exchanges), 2) as exchanges
from outcome
where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
group by purpose, coalesce(policy, ''), coalesce(simulator, ''), coalesce(domain, ''), scenario_id
order by purpose, policy, simulator, domain, scenario
