-- One row per finished dialogue: a simulation of a search, a fresh dialogue of an evaluation, a human one, or a fork of one of them.
create table if not exists trajectory (
    trajectory_id varchar not null, -- the dialogue: tree_id/simulation, cycle/purpose/policy/simulator/scenario/seed, or a forked dialogue's, /fork/, turn/digest/seed
    cycle_id varchar not null,
    purpose varchar not null, -- what the dialogue or request is for: search, evaluation, human or fork
    policy varchar, -- label of the assistant; null in a search, where it is the cycle's champion
    simulator varchar, -- label of the simulated user; in a search that of its tree, null where all trees of the cycle have the same
    tree_id varchar, -- the search it belongs to; null outside a search
    simulation integer, -- its number within the tree, from 0; null outside a search
    root_id integer, -- node at which the simulation started; null outside a search
    scenario_id varchar not null,
    seed bigint not null, -- the cycle's in a search, else the dialogue's own
    exchanges integer not null, -- assistant replies after the opening
    end_reason varchar not null, -- why the dialogue ended: farewell, max_exchanges, crisis, a flaw, or the domain's own word
    stored_at timestamp
)
