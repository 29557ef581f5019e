-- One row per search tree: one scenario searched in one cycle.
create table if not exists tree (
    tree_id varchar primary key, -- the search it belongs to: cycle_id/scenario_id
    cycle_id varchar not null,
    scenario_id varchar not null,
    seed bigint not null, -- the cycle's seed, from which those of all requests derive
    withdrawn integer not null, -- simulations whose request failed for good
    wall_s double not null, -- seconds from the search's start to its end; searches overlap
    stored_at timestamp -- when it reached this database, UTC; null in rows of schema 6 and older
)
