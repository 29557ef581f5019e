-- One row per reply at a spine node with at least two groups: its value under the search policy, shrunk, with its variance.
-- Variances are shrunk to the domain's pooled variance (as 4 further degrees of freedom), so that two equal rewards are not
-- certain; means are shrunk to the prefix mean, because best and worst of noisy means overstate the gap. The prefix mean weighs
-- each sibling by its precision and is itself uncertain: `shared_error` is how far one standard error of it moves the value, so
-- that two siblings' values differ with variance value_variance + value_variance − 2·shared_error·shared_error.
-- Values are rounded to 1e-9 of reward: the last bits of a sum depend on the order in which threads add, and must decide nothing.
-- How far siblings' values differ is estimated from the domain's siblings and from earlier cycles (earlier_spread). It is the posterior mode
-- under a prior on the standard deviation that keeps it from 0 (gamma, shape 1 + boundary; Chung et al. 2013 use shape 2), because an
-- estimate of 0 from a small night would shrink all gaps to nothing. With many siblings it approaches their mean excess.
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
        avg(q_mean) over siblings as sibling_mean,
        count(*) over siblings as sibling_count
    from reply_evidence
    where group_count >= 2
    window siblings as (partition by cycle_id, tree_id, decision_id)
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
        greatest(((group_count - 1) * group_variance + 4 * pooled_variance) / (group_count - 1 + 4), 1e-6)
        / group_count as mean_variance,
        sibling_count,
        case when sibling_count > 1 then power(q_mean - sibling_mean, 2) * sibling_count / (sibling_count - 1) end
        as sibling_deviation
    from pooled
),
excess as (
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
        -- a reply without siblings has no deviation; a domain of such replies shows no spread
        coalesce(avg(sibling_deviation - mean_variance) over of_domain, 0) as sibling_excess,
        round(coalesce(sum(1 - 1 / sibling_count) over of_domain, 0), 6) as sibling_degrees,
        avg(mean_variance) over of_domain as noise
    from measured
    window of_domain as (partition by cycle_id, domain)
),
-- The mode v solves degrees·v² − total_excess·v − held_off = 0: see the comment on top.
term as (
    select
        excess.cycle_id,
        excess.scenario_id,
        excess.domain,
        excess.tree_id,
        excess.decision_id,
        excess.spine_index,
        excess.reply_id,
        excess.group_count,
        excess.q_mean,
        excess.mean_variance,
        excess.sibling_excess,
        excess.sibling_degrees,
        excess.sibling_degrees + coalesce(earlier.degrees, 20) - coalesce(earlier.boundary, 0.25) as degrees,
        excess.sibling_degrees * excess.sibling_excess
        + coalesce(earlier.degrees * earlier.excess, 0)
        + 2 * coalesce(earlier.boundary, 0.25) * excess.noise as total_excess,
        coalesce(earlier.boundary, 0.25) * excess.noise * excess.noise as held_off
    from excess
    left join earlier_spread as earlier
        on earlier.cycle_id = excess.cycle_id and earlier.domain is not distinct from excess.domain
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
        mean_variance,
        sibling_excess,
        sibling_degrees,
        greatest(
            coalesce(
                (total_excess + sqrt(total_excess * total_excess + 4 * degrees * held_off)) / nullif(2 * degrees, 0), 0
            ),
            1e-6
        ) as between_variance
    from term
),
centred as (
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
        sibling_excess,
        sibling_degrees,
        between_variance,
        mean_variance / (between_variance + mean_variance) as shrinkage,
        sum(q_mean / (between_variance + mean_variance)) over siblings
        / sum(1 / (between_variance + mean_variance)) over siblings as prefix_mean,
        1 / sum(1 / (between_variance + mean_variance)) over siblings as prefix_variance
    from spread
    window siblings as (partition by cycle_id, tree_id, decision_id)
)
select
    cycle_id,
    scenario_id,
    domain,
    tree_id,
    decision_id, -- node before the reply
    spine_index, -- exchanges held before the reply
    reply_id,
    group_count,
    q_mean,
    mean_variance, -- of q_mean, with the domain's pooled variance mixed in, in squared reward
    between_variance, -- of the domain's sibling replies around each other, in squared reward
    round((1 - shrinkage) * q_mean + shrinkage * prefix_mean, 9) as value_mean, -- shrunk value: the reply's mean drawn towards its siblings', in reward
    shrinkage * between_variance + shrinkage * shrinkage * prefix_variance as value_variance, -- of value_mean, in squared reward
    shrinkage * sqrt(prefix_variance) as shared_error, -- how far one standard error of the siblings' mean moves value_mean, in reward
    sibling_degrees, -- number of comparisons between siblings in the domain: replies minus search roots
    sibling_excess -- the domain's mean squared deviation from the siblings' mean, minus its noise, in squared reward; below 0 by chance
from centred
