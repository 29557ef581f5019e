-- One row per cycle: one run of collect, align, evaluate under one configuration.
create table if not exists cycle (
    cycle_id varchar primary key, -- the run of collect, align, evaluate that this belongs to; engage --cycle names it
    config_hash varchar not null, -- SHA-256 of config as canonical JSON
    config json not null, -- what decides what the cycle collects: settings, seed, models, prompts, champion
    started_at timestamp not null, -- when the cycle was registered, UTC
    settings json -- all settings that it was last collected with, passwords masked; null for a cycle of an engage that did not keep them
)
