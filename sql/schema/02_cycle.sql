-- One row per cycle: one run of collect, align, evaluate under one configuration.
create table if not exists cycle (
    cycle_id varchar primary key,
    config_hash varchar not null, -- SHA-256 of config as canonical JSON
    config json not null,
    started_at timestamp not null -- UTC
)
