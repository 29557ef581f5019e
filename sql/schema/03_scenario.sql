-- One row per scenario, over all cycles.
create table if not exists scenario (
    scenario_id varchar primary key,
    content_hash varchar not null, -- SHA-256 of domain, user condition and opening
    domain varchar not null,
    split varchar not null, -- train, validation or test
    user_condition json not null,
    opening json not null, -- list of {role, text}
    source varchar not null,
    difficulty varchar, -- null where the domain has no such stratum
    attitude varchar
)
