-- One row per measured figure of a cycle: one metric of one policy on one split with one simulator in one domain.
create table if not exists evaluation (
    cycle_id varchar not null,
    policy varchar not null, -- label of the assistant that was measured
    simulator varchar not null, -- label of the simulated user
    domain varchar not null,
    metric varchar not null, -- what was measured, such as difference (to the incumbent) or mean
    value double not null, -- the figure, in the metric's unit: reward for means and differences
    low double, -- lower end of the interval, in the metric's unit; null where it has none
    high double, -- upper end of the interval, in the metric's unit; null where it has none
    n integer, -- held-out scenarios behind the figure; null where they were not counted
    split varchar, -- of the scenarios: validation or test; null in figures written before it was noted
    stored_at timestamp,
    ground varchar -- digest of scenarios, users and settings of the dialogues; null in figures written before it was noted
)
