-- One row per search tree: one scenario searched in one cycle.
create table if not exists tree (
    tree_id varchar primary key, -- cycle_id/scenario_id
    cycle_id varchar not null,
    scenario_id varchar not null,
    seed bigint not null, -- the cycle's
    withdrawn integer not null, -- simulations whose request failed for good
    wall_s double not null
)
