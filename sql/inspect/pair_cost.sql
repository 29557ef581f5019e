-- One row per domain: what its searches cost, and what an accepted pair cost of it. Tokens are empty (unknown) where the server left one
-- out; those of a pair also where none was accepted. `computed_tokens` leaves out prompt tokens that were cached.
-- Answers: What did it cost?
with call as (
    select
        scenario.domain,
        count(*) as calls,
        case when count(engine_call.prompt_tokens) = count(*) then sum(engine_call.prompt_tokens)::bigint end as prompt_tokens,
        case when count(engine_call.cached_tokens) = count(*) then sum(engine_call.cached_tokens)::bigint end as cached_tokens,
        case when count(engine_call.completion_tokens) = count(*) then sum(engine_call.completion_tokens)::bigint end
        as completion_tokens
    from engine_call
    join tree on tree.tree_id = engine_call.origin_id
    left join scenario on scenario.scenario_id = tree.scenario_id
    where
        engine_call.purpose = 'search'
        and engine_call.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by scenario.domain
),
searched as (
    select
        scenario.domain,
        count(*) as trees,
        sum(tree.wall_s) as wall_s
    from tree
    left join scenario on scenario.scenario_id = tree.scenario_id
    where tree.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by scenario.domain
),
judged as (
    select
        domain,
        count(*) as candidates,
        count(*) filter (where accepted) as accepted
    from pair
    where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by domain
)
select
    searched.domain,
    searched.trees,
    judged.candidates,
    judged.accepted,
    call.prompt_tokens,
    call.completion_tokens,
    call.prompt_tokens - call.cached_tokens + call.completion_tokens as computed_tokens,
    round((call.prompt_tokens + call.completion_tokens) / nullif(judged.accepted, 0))::bigint as pair_tokens,
    round((call.prompt_tokens - call.cached_tokens + call.completion_tokens) / nullif(judged.accepted, 0))::bigint
    as pair_computed_tokens,
    round(call.calls / nullif(judged.accepted, 0), 1) as pair_calls
from searched
left join call on call.domain is not distinct from searched.domain
left join judged on judged.domain is not distinct from searched.domain
order by searched.domain
