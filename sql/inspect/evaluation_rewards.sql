-- One row per evaluation dialogue (of $policy, on $split, or all): its scenario and reward, empty where the reaction could not be read.
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
    and split = coalesce($split::varchar, split)
order by policy, simulator, domain, scenario_id, seed
