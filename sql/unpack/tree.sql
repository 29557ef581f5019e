-- One row per tree of incoming_tree.
select
    tree_id,
    cycle_id,
    scenario_id,
    seed,
    withdrawn,
    wall_s
from incoming_tree
