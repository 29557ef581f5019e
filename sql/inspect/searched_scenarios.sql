-- One row per searched scenario and cycle, the latest cycle first, whose id is or begins with $prefix.
-- Internal
-- $prefix: the beginning of a scenario's id
select
    tree.scenario_id as scenario,
    tree.cycle_id as cycle,
    tree.tree_id,
    scenario.domain,
    scenario.user_condition,
    scenario.opening,
    scenario.split,
    tree.withdrawn
from tree
join cycle on cycle.cycle_id = tree.cycle_id
left join scenario on scenario.scenario_id = tree.scenario_id
where
    starts_with(tree.scenario_id, $prefix::varchar)
    and tree.cycle_id = coalesce($cycle::varchar, tree.cycle_id)
order by cycle.rowid desc, tree.scenario_id
