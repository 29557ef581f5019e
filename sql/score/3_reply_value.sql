-- One row per reply at a spine node with at least two groups: its value under the search policy, shrunk, with its variance.
-- Variances are shrunk to the domain's pooled variance (as 4 further degrees of freedom), so that two equal rewards are not
-- certain; means are shrunk to the mean of the siblings, because best and worst of noisy means overstate the gap.
-- Floors of 1e-6 (squared reward) keep equal rewards everywhere from dividing by zero.
with pooled as (
    select
        cycle_id,
        scenario_id,
        domain,
        tree_id,
        decision_id,
        spine_index,
        reply_id,
        group_count,
        q_mean,
        group_variance,
        sum((group_count - 1) * group_variance) over (partition by cycle_id, domain)
        / sum(group_count - 1) over (partition by cycle_id, domain) as pooled_variance,
        avg(q_mean) over (partition by cycle_id, tree_id, decision_id) as sibling_mean,
        count(*) over (partition by cycle_id, tree_id, decision_id) as sibling_count
    from reply_evidence
    where group_count >= 2
),
measured as (
    select
        cycle_id,
        scenario_id,
        domain,
        tree_id,
        decision_id,
        spine_index,
        reply_id,
        group_count,
        q_mean,
        sibling_mean,
        greatest(((group_count - 1) * group_variance + 4 * pooled_variance) / (group_count - 1 + 4), 1e-6)
        / group_count as mean_variance,
        case when sibling_count > 1 then power(q_mean - sibling_mean, 2) * sibling_count / (sibling_count - 1) end
        as sibling_deviation
    from pooled
),
spread as (
    select
        cycle_id,
        scenario_id,
        domain,
        tree_id,
        decision_id,
        spine_index,
        reply_id,
        group_count,
        q_mean,
        sibling_mean,
        mean_variance,
        -- deviation minus noise is null for a reply without siblings; a domain of such replies shows no spread
        greatest(coalesce(avg(sibling_deviation - mean_variance) over (partition by cycle_id, domain), 0), 1e-6)
        as between_variance
    from measured
)
select
    cycle_id,
    scenario_id,
    domain,
    tree_id,
    decision_id,
    spine_index,
    reply_id,
    group_count,
    q_mean,
    mean_variance,
    between_variance,
    (between_variance * q_mean + mean_variance * sibling_mean) / (between_variance + mean_variance) as value_mean,
    between_variance * mean_variance / (between_variance + mean_variance) as value_variance
from spread
