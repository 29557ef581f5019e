-- One row per evaluation dialogue of a cycle, as the report shows it: who spoke with whom, and the user's answer to the exit survey.
-- Internal
select
    trajectory_id,
    policy,
    simulator,
    domain,
    scenario_id,
    user_condition,
    seed,
    exchanges,
    end_reason,
    reader,
    reaction_text,
    value,
    reward
from outcome
where
    purpose = 'evaluation'
    and cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
order by simulator, domain, scenario_id, seed, policy
