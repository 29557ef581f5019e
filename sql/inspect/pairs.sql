-- One row per pair of sibling replies, accepted ones first: both replies, the gap of their values and how sure it is.
-- Answers: Which pairs are trained on, and why not the others?
select
    pair.domain,
    pair.scenario_id as scenario,
    pair.spine_index as exchange,
    coalesce(pair.drop_reason, 'accepted') as fate,
    chosen.text as chosen,
    rejected.text as rejected,
    round(pair.q_gap, 4) as q_gap,
    round(pair.q_gap_raw, 4) as q_gap_raw,
    round(pair.p_greater, 4) as p_greater,
    pair.chosen_groups,
    pair.rejected_groups
from pair
join node as chosen on chosen.tree_id = pair.tree_id and chosen.node_id = pair.chosen_id
join node as rejected on rejected.tree_id = pair.tree_id and rejected.node_id = pair.rejected_id
where pair.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
order by pair.accepted desc, pair.p_greater desc, pair.q_gap desc, pair.tree_id, pair.chosen_id, pair.rejected_id
