-- One row per call of incoming_call, which holds the calls of one tree or dialogue a row.
with unpacked as (
    select
        cycle_id,
        purpose,
        origin_id,
        unnest(calls) as item
    from incoming_call
)
select
    cycle_id,
    purpose,
    origin_id,
    item.key,
    item.side,
    item.kind,
    item.samples,
    item.prompt_tokens,
    item.cached_tokens,
    item.completion_tokens,
    case when isfinite(item.latency_s) then item.latency_s end as latency_s
from unpacked
