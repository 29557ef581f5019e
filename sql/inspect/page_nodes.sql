-- One row per node of a cycle's trees, as the report shows it: visits, Q with a 95 % interval, prior, draws.
-- `groups` counts what is independent below a node: simulations through one next user turn are one group, a simulation that
-- was played out from the node itself is one of its own. The variance of their means is shrunk to the domain's pooled one, as in
-- reply_value; without any reply of two groups in the domain there is no interval. `value` and `standard_error` are those of reply_value, for replies that
-- can be in a pair. The prior is uniform over the replies at a decision; user turns are sampled and have none.
-- Internal
-- $scenarios: a list of scenario ids; all by default
with shown as (
    select
        tree.cycle_id,
        tree.tree_id,
        tree.scenario_id,
        scenario.domain
    from tree
    left join scenario on scenario.scenario_id = tree.scenario_id
    where
        tree.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
        and ($scenarios::varchar[] is null or list_contains($scenarios::varchar[], tree.scenario_id))
),
pooled as (
    select
        domain,
        sum((group_count - 1) * group_variance) / sum(group_count - 1) as variance
    from reply_evidence
    where
        group_count >= 2
        and cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by domain
),
rewarded as (
    select
        outcome.tree_id,
        outcome.simulation,
        outcome.reward
    from shown
    join outcome on outcome.cycle_id = shown.cycle_id and outcome.tree_id = shown.tree_id and outcome.reward is not null
),
grouped as (
    select
        passed.tree_id,
        passed.node_id,
        avg(rewarded.reward) as reward_mean
    from rewarded
    join visit as passed on passed.tree_id = rewarded.tree_id and passed.simulation = rewarded.simulation
    left join visit as user_turn
        on user_turn.tree_id = passed.tree_id
        and user_turn.simulation = passed.simulation
        and user_turn.depth = passed.depth + 2 - passed.depth % 2 -- assistant and user alternate after the opening
    group by passed.tree_id, passed.node_id, coalesce(user_turn.node_id, -1 - passed.simulation)
),
measured as (
    select
        tree_id,
        node_id,
        count(*) as groups,
        coalesce(var_samp(reward_mean), 0) as variance
    from grouped
    group by tree_id, node_id
),
spread as (
    select
        shown.tree_id,
        measured.node_id,
        measured.groups,
        1.96 * sqrt(
            greatest(
                ((measured.groups - 1) * measured.variance + 4 * pooled.variance) / (measured.groups - 1 + 4),
                1e-6
            ) / measured.groups
        ) as half_width
    from shown
    join measured on measured.tree_id = shown.tree_id
    left join pooled on pooled.domain = shown.domain
)
select
    shown.scenario_id,
    node.tree_id,
    node.node_id,
    node.parent_id,
    node.kind,
    node.depth,
    node.spine_index,
    node.text,
    node.end_reason,
    node.flaw,
    node.first_flaw,
    node.attempts as draws,
    node.attempts - 1 + (node.flaw is not null)::integer as flawed_draws,
    node_value.visit_count as visits,
    coalesce(spread.groups, 0) as groups,
    round(node_value.q_value, 9) as q_value, -- sums of several threads differ in their last digits
    case when spread.half_width is not null then greatest(0, round(node_value.q_value - spread.half_width, 9)) end
    as q_low,
    case when spread.half_width is not null then least(1, round(node_value.q_value + spread.half_width, 9)) end
    as q_high,
    case when parent.kind = 'decision' then 1 / count(*) over (partition by node.tree_id, node.parent_id) end as prior,
    reply_value.value_mean as value,
    round(sqrt(reply_value.value_variance), 9) as standard_error
from shown
join node on node.tree_id = shown.tree_id
join node_value
    on node_value.cycle_id = shown.cycle_id
    and node_value.tree_id = node.tree_id
    and node_value.node_id = node.node_id
left join node as parent on parent.tree_id = node.tree_id and parent.node_id = node.parent_id
left join spread on spread.tree_id = node.tree_id and spread.node_id = node.node_id
left join reply_value
    on reply_value.cycle_id = shown.cycle_id
    and reply_value.tree_id = node.tree_id
    and reply_value.reply_id = node.node_id
order by node.tree_id, node.node_id
