-- One row per node on the path of a simulation of incoming_tree.
with unpacked as (
    select
        tree_id,
        unnest(simulations) as item
    from incoming_tree
)
select
    tree_id,
    item.simulation,
    unnest(item.node_ids) as node_id,
    unnest(range(len(item.node_ids))) as depth
from unpacked
