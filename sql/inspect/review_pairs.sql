-- One row per pair of a cycle that can be reviewed, as a review shows it: what was said before, both replies, and what the search
-- knows about them. These are the pairs that training takes, or would take but for what reviewers said; or else those named in $ids.
-- Internal
-- $ids: a list of scenarios (all of their pairs), of scenario:node:node in either order, and of tree:node:node, the lower node first
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
    pair.p_greater
from pair
join scenario on scenario.scenario_id = pair.scenario_id
join spine_prefix
    on spine_prefix.cycle_id = pair.cycle_id
    and spine_prefix.tree_id = pair.tree_id
    and spine_prefix.node_id = pair.decision_id
join node as chosen on chosen.tree_id = pair.tree_id and chosen.node_id = pair.chosen_id
join node as rejected on rejected.tree_id = pair.tree_id and rejected.node_id = pair.rejected_id
where
    pair.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    and case
        when $ids::varchar[] is null then pair.accepted or pair.drop_reason in ('harmful', 'nonsense')
        else
            list_has_any(
                $ids::varchar[],
                [
                    pair.scenario_id,
                    concat_ws(':', pair.scenario_id, pair.chosen_id, pair.rejected_id),
                    concat_ws(':', pair.scenario_id, pair.rejected_id, pair.chosen_id),
                    concat_ws(
                        ':', pair.tree_id, least(pair.chosen_id, pair.rejected_id), greatest(pair.chosen_id, pair.rejected_id)
                    )
                ]
            )
    end
order by pair.tree_id, pair.decision_id, pair.chosen_id, pair.rejected_id
