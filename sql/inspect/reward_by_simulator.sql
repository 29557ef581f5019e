-- One row per simulator and domain of a cycle's searches: the trees that drew it as their user, the reward that came of it, and their accepted
-- pairs. `simulator` is null where all trees of the cycle have the same.
-- Answers: How did users end up?
with tree_reward as (
    select
        tree_id,
        any_value(simulator) as simulator,
        any_value(domain) as domain,
        count(*) as simulations,
        avg(reward) as reward_mean
    from search_outcome
    where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by tree_id
),
tree_pair as (
    select
        tree_id,
        count(*) as pairs
    from pair
    where accepted and cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by tree_id
)
select
    tree_reward.simulator,
    tree_reward.domain,
    count(*) as trees,
    sum(tree_reward.simulations)::bigint as simulations,
    round(avg(tree_reward.reward_mean), 4) as reward_mean, -- of the trees' means
    round(stddev_samp(tree_reward.reward_mean), 4) as reward_sd, -- between trees
    coalesce(sum(tree_pair.pairs), 0)::bigint as accepted_pairs
from tree_reward
left join tree_pair on tree_pair.tree_id = tree_reward.tree_id
group by tree_reward.simulator, tree_reward.domain
order by tree_reward.simulator, tree_reward.domain
