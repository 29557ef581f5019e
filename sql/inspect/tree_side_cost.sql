-- One row per search tree and side: its calls and tokens, of which prices make a cost. A sum of tokens is empty (unknown) where the
-- server left one out.
-- Answers: What did it cost?
select
    tree.tree_id,
    engine_call.side,
    count(*) as calls,
    case when count(engine_call.prompt_tokens) = count(*) then sum(engine_call.prompt_tokens)::bigint end as prompt_tokens,
    case when count(engine_call.cached_tokens) = count(*) then sum(engine_call.cached_tokens)::bigint end as cached_tokens,
    case when count(engine_call.completion_tokens) = count(*) then sum(engine_call.completion_tokens)::bigint end
    as completion_tokens
from tree
join engine_call on engine_call.origin_id = tree.tree_id and engine_call.purpose = 'search'
where tree.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
group by tree.tree_id, engine_call.side
order by tree.tree_id, engine_call.side
