-- One row per search tree, the slowest first: its calls, tokens and the seconds from its start to its end. Trees are searched at
-- once: the longest is a lower bound of the time a cycle's searches took, the sum an upper one.
-- A sum of tokens is empty (unknown) where the server left one out.
-- Answers: What did it cost?
with call as (
    select
        origin_id,
        count(*) as calls,
        case when count(prompt_tokens) = count(*) then sum(prompt_tokens)::bigint end as prompt_tokens,
        case when count(cached_tokens) = count(*) then sum(cached_tokens)::bigint end as cached_tokens,
        case when count(completion_tokens) = count(*) then sum(completion_tokens)::bigint end as completion_tokens
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
    scenario.domain,
    tree.scenario_id as scenario,
    coalesce(simulated.simulations, 0) as simulations,
    tree.withdrawn,
    coalesce(call.calls, 0) as calls,
    call.prompt_tokens,
    call.cached_tokens,
    call.completion_tokens,
    round(tree.wall_s, 2) as wall_s,
    round(sum(tree.wall_s) over (), 2) as wall_s_sum
from tree
left join scenario on scenario.scenario_id = tree.scenario_id
left join simulated on simulated.tree_id = tree.tree_id
left join call on call.origin_id = tree.tree_id
where tree.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
order by tree.wall_s desc, tree.tree_id
