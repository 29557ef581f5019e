-- One row per pair of a cycle, as a review shows it: what was said before, both replies, and what the search knows about them.
-- Internal
select
    pair.tree_id,
    pair.chosen_id,
    pair.rejected_id,
    pair.scenario_id,
    pair.domain,
    scenario.user_condition,
    scenario.opening,
    spine_prefix.turns,
    chosen.text as chosen,
    rejected.text as rejected,
    pair.q_gap,
    pair.p_greater,
    coalesce(pair.drop_reason, 'accepted') as fate
from pair
join scenario on scenario.scenario_id = pair.scenario_id
join spine_prefix
    on spine_prefix.cycle_id = pair.cycle_id
    and spine_prefix.tree_id = pair.tree_id
    and spine_prefix.node_id = pair.decision_id
join node as chosen on chosen.tree_id = pair.tree_id and chosen.node_id = pair.chosen_id
join node as rejected on rejected.tree_id = pair.tree_id and rejected.node_id = pair.rejected_id
where pair.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
order by pair.tree_id, pair.decision_id, pair.chosen_id, pair.rejected_id
