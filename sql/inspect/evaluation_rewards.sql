-- One row per evaluation dialogue (of $policy, on $scenarios, or all): its scenario and reward, empty where the reaction could not be read.
-- Answers: What does an evaluation rest on?
-- $policy: label of one policy; all by default
-- $scenarios: a list of scenarios; all by default
select
    policy,
    simulator,
    domain,
    scenario_id,
    seed,
    exchanges,
    value,
    reward
from outcome
where
    purpose = 'evaluation'
    and cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    and policy = coalesce($policy::varchar, policy)
    and ($scenarios::varchar[] is null or list_contains($scenarios::varchar[], scenario_id))
order by policy, simulator, domain, scenario_id, seed
