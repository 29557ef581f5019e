-- One row per two sibling replies with evidence, as the report shows them: the gap of their values, P, and what became
-- of the pair; `fate` is empty before the cycle's pairs are judged.
-- Internal
-- $scenarios: a list of scenario ids; all by default
select
    sibling_pair.domain,
    sibling_pair.scenario_id,
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
    case when pair.accepted then 'accepted' else pair.drop_reason end as fate
from sibling_pair
left join pair
    on pair.cycle_id = sibling_pair.cycle_id
    and pair.tree_id = sibling_pair.tree_id
    and pair.decision_id = sibling_pair.decision_id
    and least(pair.chosen_id, pair.rejected_id) = least(sibling_pair.chosen_id, sibling_pair.rejected_id)
    and greatest(pair.chosen_id, pair.rejected_id) = greatest(sibling_pair.chosen_id, sibling_pair.rejected_id)
where
    sibling_pair.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    and ($scenarios::varchar[] is null or list_contains($scenarios::varchar[], sibling_pair.scenario_id))
order by sibling_pair.tree_id, sibling_pair.decision_id, sibling_pair.chosen_id, sibling_pair.rejected_id
