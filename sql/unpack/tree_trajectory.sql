-- One row per simulation of incoming_tree, as a trajectory that is still nested.
with unpacked as (
    select
        tree_id,
        cycle_id,
        seed,
        simulator,
        unnest(simulations) as item
    from incoming_tree
)
select
    tree_id || '/' || item.simulation as trajectory_id,
    cycle_id,
    'search' as purpose,
    null::varchar as policy,
    simulator,
    tree_id,
    item.simulation,
    item.root_id,
    seed,
    item.trajectory
from unpacked
