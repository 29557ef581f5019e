-- One row per reply at a spine node: visits, its evidence and shrunk value. `groups` are sampled user turns with a reward;
-- `p_below_best` is the probability that the best sibling's value is higher. Empty figures: too little evidence.
-- Answers: Which replies are better, and how sure is that?
with reply as (
    select
        tree.cycle_id,
        tree.scenario_id,
        node.tree_id,
        node.parent_id as decision_id,
        root.spine_index,
        node.node_id,
        node.text,
        node.flaw
    from tree
    join node as root on root.tree_id = tree.tree_id and root.spine_index is not null and root.kind = 'decision'
    join node on node.tree_id = root.tree_id and node.parent_id = root.node_id
    where tree.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
),
valued as (
    select
        reply.scenario_id,
        reply.decision_id,
        reply.spine_index,
        reply.node_id,
        reply.text,
        reply.flaw,
        node_value.visit_count,
        reply_evidence.group_count,
        reply_evidence.q_mean,
        reply_value.value_mean,
        reply_value.value_variance,
        case
            when reply_value.value_mean is not null
                then {
                    'value_mean': reply_value.value_mean,
                    'value_variance': reply_value.value_variance,
                    'shared_error': reply_value.shared_error
                }
        end as figures,
        first_value(figures) over siblings as best,
        row_number() over siblings as place
    from reply
    join node_value
        on node_value.cycle_id = reply.cycle_id
        and node_value.tree_id = reply.tree_id
        and node_value.node_id = reply.node_id
    left join reply_evidence
        on reply_evidence.cycle_id = reply.cycle_id
        and reply_evidence.tree_id = reply.tree_id
        and reply_evidence.reply_id = reply.node_id
    left join reply_value
        on reply_value.cycle_id = reply.cycle_id
        and reply_value.tree_id = reply.tree_id
        and reply_value.reply_id = reply.node_id
    window siblings as (
        partition by reply.tree_id, reply.decision_id
        order by reply_value.value_mean desc nulls last, reply.node_id
    )
)
select
    scenario_id as scenario,
    spine_index as exchange,
    text as reply,
    flaw,
    visit_count as visits,
    coalesce(group_count, 0) as groups,
    round(q_mean, 3) as q_mean,
    round(value_mean, 3) as value,
    round(sqrt(value_variance), 3) as standard_error,
    case when place > 1 then round(p_greater(best, figures), 3) end as p_below_best
from valued
order by scenario, exchange, place
