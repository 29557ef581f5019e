-- One row per tree of incoming_tree.
select
    tree_id,
    cycle_id,
    scenario_id,
    seed,
    withdrawn,
    case when isfinite(wall_s) then wall_s end as wall_s,
    utc_now() as stored_at
from incoming_tree
