-- One row per two sibling replies of cycle $cycle with evidence, with the first reason against them that their figures or their
-- scenario give, in this order: not_train, min_groups, gap, confidence.
-- Kept as a table while pairs are judged: the sizes of a view with lists are guessed too badly for good joins.
select
    sibling_pair.cycle_id,
    sibling_pair.scenario_id,
    sibling_pair.domain,
    sibling_pair.tree_id,
    sibling_pair.decision_id,
    sibling_pair.spine_index,
    sibling_pair.chosen_id,
    sibling_pair.rejected_id,
    sibling_pair.chosen_groups,
    sibling_pair.rejected_groups,
    sibling_pair.q_gap,
    sibling_pair.q_gap_raw,
    sibling_pair.p_greater,
    case
        when scenario.split is distinct from 'train' then 'not_train'
        when least(sibling_pair.chosen_groups, sibling_pair.rejected_groups) < $min_groups then 'min_groups'
        when sibling_pair.q_gap < $min_q_gap or sibling_pair.q_gap <= 0 then 'gap'
        when sibling_pair.p_greater < $confidence then 'confidence'
    end as drop_reason
from sibling_pair
left join scenario on scenario.scenario_id = sibling_pair.scenario_id
where sibling_pair.cycle_id = $cycle
