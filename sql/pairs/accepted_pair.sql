-- One row per pair of cycle $cycle that is accepted, or that most of its reviewers call nonsense or harmful (fault; null: they do not): where
-- it comes from, what its prompt is made of, and both replies.
select
    pair.tree_id,
    pair.chosen_id,
    pair.rejected_id,
    pair.domain,
    pair.scenario_id,
    scenario.opening,
    scenario.source,
    spine_prefix.turns,
    chosen.text as chosen,
    rejected.text as rejected,
    pair.q_gap,
    pair.p_greater,
    faulty_pair.fault
from pair
join scenario on scenario.scenario_id = pair.scenario_id and scenario.split = 'train'
join spine_prefix
    on spine_prefix.cycle_id = pair.cycle_id
    and spine_prefix.tree_id = pair.tree_id
    and spine_prefix.node_id = pair.decision_id
join node as chosen on chosen.tree_id = pair.tree_id and chosen.node_id = pair.chosen_id
join node as rejected on rejected.tree_id = pair.tree_id and rejected.node_id = pair.rejected_id
left join faulty_pair
    on faulty_pair.cycle_id = pair.cycle_id
    and faulty_pair.tree_id = pair.tree_id
    and faulty_pair.first_id = least(pair.chosen_id, pair.rejected_id)
    and faulty_pair.second_id = greatest(pair.chosen_id, pair.rejected_id)
where pair.cycle_id = $cycle and (pair.accepted or faulty_pair.fault is not null)
order by pair.tree_id, pair.decision_id, pair.chosen_id, pair.rejected_id
