-- One row per finished dialogue: a simulation of a search, a fresh dialogue of an evaluation, or a human one.
create table if not exists trajectory (
    trajectory_id varchar not null, -- tree_id/simulation, or cycle/purpose/policy/simulator/scenario/seed
    cycle_id varchar not null,
    purpose varchar not null, -- search, evaluation or human
    policy varchar, -- label; null in a search, where it is the cycle's champion
    simulator varchar, -- label; null in a search
    tree_id varchar, -- null outside a search, as are simulation and root_id
    simulation integer,
    root_id integer, -- node at which the simulation started
    scenario_id varchar not null,
    seed bigint not null,
    exchanges integer not null, -- assistant replies after the opening
    end_reason varchar not null
)
