-- One row per cycle with trees: what its searches took, and the calls and tokens of the dearest tree.
with call as (
    select
        origin_id,
        count(*) as calls,
        sum(prompt_tokens + completion_tokens)::bigint as tokens
    from engine_call
    where
        purpose = 'search'
        and cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by origin_id
),
simulated as (
    select
        tree_id,
        count(*) as simulations
    from trajectory
    where
        purpose = 'search'
        and cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by tree_id
)
select
    tree.cycle_id as cycle,
    count(*) as trees,
    sum(coalesce(simulated.simulations, 0) + tree.withdrawn)::bigint as simulations,
    coalesce(sum(call.calls), 0)::bigint as calls,
    coalesce(sum(call.tokens), 0)::bigint as tokens,
    coalesce(max(call.calls), 0)::bigint as most_calls,
    coalesce(max(call.tokens), 0)::bigint as most_tokens
from tree
left join simulated on simulated.tree_id = tree.tree_id
left join call on call.origin_id = tree.tree_id
where tree.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
group by tree.cycle_id
