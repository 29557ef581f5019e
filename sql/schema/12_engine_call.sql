-- One row per answered engine request.
create table if not exists engine_call (
    cycle_id varchar not null,
    purpose varchar not null,
    origin_id varchar not null, -- the tree_id or trajectory_id it was made for
    key varchar not null, -- scenario, node path and purpose of the request
    side varchar not null, -- who was asked: policy or simulator
    kind varchar not null, -- complete (draw turns) or score (rate the survey's choices)
    samples integer not null, -- completions or choices asked for
    prompt_tokens bigint, -- counted once per request; null where the server does not say
    cached_tokens bigint, -- of prompt_tokens, those not computed afresh; null where the server does not say
    completion_tokens bigint, -- tokens that were decoded; null where the server does not say
    latency_s double not null -- seconds from asking to answer; requests overlap
)
