-- One row per purpose, side and kind of engine request: requests, tokens and waiting. Requests overlap: the sum of their
-- latencies is no wall time. A sum of tokens is empty (unknown) where the server left one out.
-- Answers: What did it cost?
select
    purpose,
    side,
    kind,
    count(*) as calls,
    sum(samples)::bigint as samples,
    case when count(prompt_tokens) = count(*) then sum(prompt_tokens)::bigint end as prompt_tokens,
    case when count(cached_tokens) = count(*) then sum(cached_tokens)::bigint end as cached_tokens,
    round(sum(cached_tokens) / nullif(sum(prompt_tokens), 0), 3) as cached_share,
    case when count(completion_tokens) = count(*) then sum(completion_tokens)::bigint end as completion_tokens,
    round(sum(latency_s), 1) as latency_s_sum,
    round(avg(latency_s), 3) as latency_s_mean
from engine_call
where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
group by purpose, side, kind
order by purpose, side, kind
