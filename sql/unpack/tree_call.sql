-- One row per tree of incoming_tree: its calls, still nested.
select
    cycle_id,
    'search' as purpose,
    tree_id as origin_id,
    calls
from incoming_tree
