-- One row per accepted pair, as it is given away: what its prompt is made of, both replies, the evidence behind them, and where it comes from.
-- `fault` is what most of its reviewers called it since the pairs were extracted, nonsense or harmful; such a pair is not given away.
-- Internal
select
    pair.cycle_id as cycle,
    coalesce(cycle.config ->> 'champion_version', 'none') as policy, -- in MLflow's registry; both values are those under this policy
    scenario.domain,
    pair.scenario_id as scenario,
    scenario.source,
    pair.spine_index as exchange,
    pair.tree_id as tree,
    pair.decision_id as decision_node,
    pair.chosen_id as chosen_node,
    pair.rejected_id as rejected_node,
    scenario.opening,
    spine_prefix.turns,
    chosen.text as chosen,
    rejected.text as rejected,
    pair.p_greater,
    pair.q_gap,
    pair.q_gap_raw,
    chosen_value.visit_count as chosen_visits,
    rejected_value.visit_count as rejected_visits,
    pair.chosen_groups,
    pair.rejected_groups,
    faulty_pair.fault
from pair
join cycle on cycle.cycle_id = pair.cycle_id
join scenario on scenario.scenario_id = pair.scenario_id and scenario.split = 'train'
join spine_prefix
    on spine_prefix.cycle_id = pair.cycle_id
    and spine_prefix.tree_id = pair.tree_id
    and spine_prefix.node_id = pair.decision_id
join node as chosen on chosen.tree_id = pair.tree_id and chosen.node_id = pair.chosen_id
join node as rejected on rejected.tree_id = pair.tree_id and rejected.node_id = pair.rejected_id
join node_value as chosen_value
    on chosen_value.cycle_id = pair.cycle_id
    and chosen_value.tree_id = pair.tree_id
    and chosen_value.node_id = pair.chosen_id
join node_value as rejected_value
    on rejected_value.cycle_id = pair.cycle_id
    and rejected_value.tree_id = pair.tree_id
    and rejected_value.node_id = pair.rejected_id
left join faulty_pair
    on faulty_pair.cycle_id = pair.cycle_id
    and faulty_pair.tree_id = pair.tree_id
    and faulty_pair.first_id = least(pair.chosen_id, pair.rejected_id)
    and faulty_pair.second_id = greatest(pair.chosen_id, pair.rejected_id)
where pair.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle)) and pair.accepted
order by pair.tree_id, pair.decision_id, pair.chosen_id, pair.rejected_id
