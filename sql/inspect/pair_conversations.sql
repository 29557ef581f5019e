-- One row per conversation of a search through either reply of a pair that training may use, with the reward that the search's user gave.
-- Internal
select
    pair.tree_id || '/' || pair.chosen_id || '/' || pair.rejected_id as pair_id,
    pair.domain,
    pair.scenario_id,
    case visit.node_id when pair.chosen_id then 'chosen' else 'rejected' end as side,
    search_outcome.trajectory_id,
    search_outcome.reward
from pair
join visit on visit.tree_id = pair.tree_id and visit.node_id in (pair.chosen_id, pair.rejected_id)
join search_outcome on search_outcome.tree_id = visit.tree_id and search_outcome.simulation = visit.simulation
where
    pair.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    and pair.accepted
    and search_outcome.reward is not null
order by pair_id, side, search_outcome.simulation
