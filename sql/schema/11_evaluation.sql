-- One row per measured figure of a cycle: one metric of one policy on one split with one simulator in one domain.
create table if not exists evaluation (
    cycle_id varchar not null,
    policy varchar not null, -- label
    simulator varchar not null, -- label
    domain varchar not null,
    metric varchar not null,
    value double not null,
    low double, -- interval of the metric; null where it has none
    high double,
    n integer, -- held-out scenarios behind it
    split varchar -- of the scenarios; null in figures written before it was noted
)
