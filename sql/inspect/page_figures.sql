-- One row per measured figure of a cycle's evaluations: one metric of one candidate on one split with one simulator in one domain.
-- Internal
select
    policy,
    simulator,
    split,
    domain,
    metric,
    value,
    low,
    high,
    n,
    ground,
    stored_at
from evaluation
where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
order by policy, simulator, split, domain, metric
