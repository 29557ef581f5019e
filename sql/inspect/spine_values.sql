-- One row per search root: visits and Q of the dialogue prefix there.
-- Answers: Which replies are better, and how sure is that?
select
    scenario.domain,
    tree.scenario_id as scenario,
    node.spine_index as exchange,
    node_value.visit_count as visits,
    node_value.q_value
from tree
join node on node.tree_id = tree.tree_id and node.spine_index is not null
join node_value
    on node_value.cycle_id = tree.cycle_id
    and node_value.tree_id = node.tree_id
    and node_value.node_id = node.node_id
left join scenario on scenario.scenario_id = tree.scenario_id
where tree.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
order by scenario.domain, tree.scenario_id, node.spine_index
