-- One row per domain and number of exchanges held: the mean Q of the prefixes searched from, and how far replies there differ.
-- Answers: Which replies are better, and how sure is that?
with reply_spread as (
    select
        domain,
        spine_index,
        tree_id,
        decision_id,
        max(value_mean) - min(value_mean) as value_range
    from reply_value
    where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by domain, spine_index, tree_id, decision_id
)
select
    scenario.domain,
    root.spine_index as exchange,
    count(*) as prefixes,
    round(avg(node_value.visit_count), 1) as visits_mean,
    round(avg(node_value.q_value), 3) as q_mean,
    round(min(node_value.q_value), 3) as q_lowest,
    round(max(node_value.q_value), 3) as q_highest,
    round(avg(reply_spread.value_range), 3) as reply_range_mean
from tree
join node as root on root.tree_id = tree.tree_id and root.spine_index is not null
join node_value
    on node_value.cycle_id = tree.cycle_id
    and node_value.tree_id = root.tree_id
    and node_value.node_id = root.node_id
left join scenario on scenario.scenario_id = tree.scenario_id
left join reply_spread on reply_spread.tree_id = root.tree_id and reply_spread.decision_id = root.node_id
where tree.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
group by scenario.domain, root.spine_index
order by scenario.domain, root.spine_index
