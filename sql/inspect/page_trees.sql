-- One row per search tree of a cycle, as the report shows it: its scenario, and how much was searched.
-- Internal
-- $scenarios: a list of scenario ids; all by default
with simulated as (
    select
        tree_id,
        count(*) as simulations,
        count(reward) as rewards,
        round(avg(reward), 9) as reward_mean -- sums of several threads differ in their last digits
    from outcome
    where
        purpose = 'search'
        and cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by tree_id
),
noded as (
    select
        node.tree_id,
        count(*) as nodes
    from tree
    join node on node.tree_id = tree.tree_id
    where tree.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by node.tree_id
)
select
    tree.cycle_id,
    tree.tree_id,
    tree.scenario_id,
    scenario.domain,
    scenario.split,
    scenario.user_condition,
    scenario.opening,
    noded.nodes,
    coalesce(simulated.simulations, 0) as simulations,
    coalesce(simulated.rewards, 0) as rewards,
    simulated.reward_mean,
    tree.withdrawn,
    tree.wall_s
from tree
join noded on noded.tree_id = tree.tree_id
left join scenario on scenario.scenario_id = tree.scenario_id
left join simulated on simulated.tree_id = tree.tree_id
where
    tree.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    and ($scenarios::varchar[] is null or list_contains($scenarios::varchar[], tree.scenario_id))
order by scenario.domain, tree.scenario_id
