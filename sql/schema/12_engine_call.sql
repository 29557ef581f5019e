-- One row per answered engine request.
create table if not exists engine_call (
    cycle_id varchar not null,
    purpose varchar not null, -- search, evaluation or human
    origin_id varchar not null, -- the tree_id or trajectory_id it was made for
    key varchar not null, -- scenario, node path and purpose of the request
    side varchar not null, -- policy or simulator
    kind varchar not null, -- complete or score
    samples integer not null, -- completions or choices asked for
    prompt_tokens bigint, -- counted once per request; null, as the next two, where the server does not say
    cached_tokens bigint, -- of prompt_tokens, not computed afresh
    completion_tokens bigint,
    latency_s double not null -- from asking to answer; requests overlap
)
