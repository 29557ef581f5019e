-- One row per conversation of a search through either reply of a pair that training may use, with the reward that the search's user gave.
-- Internal
with side as (
    select
        tree_id,
        chosen_id,
        rejected_id,
        domain,
        scenario_id,
        'chosen' as side,
        chosen_id as reply_id
    from pair
    where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle)) and accepted
    union all
    select
        tree_id,
        chosen_id,
        rejected_id,
        domain,
        scenario_id,
        'rejected',
        rejected_id
    from pair
    where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle)) and accepted
)
select
    side.tree_id || '/' || side.chosen_id || '/' || side.rejected_id as pair_id,
    side.domain,
    side.scenario_id,
    side.side,
    search_outcome.trajectory_id,
    search_outcome.reward
from side
join visit on visit.tree_id = side.tree_id and visit.node_id = side.reply_id
join search_outcome on search_outcome.tree_id = visit.tree_id and search_outcome.simulation = visit.simulation
where search_outcome.reward is not null
order by pair_id, side.side, search_outcome.simulation
