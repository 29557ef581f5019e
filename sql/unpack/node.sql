-- One row per node of incoming_tree.
with unpacked as (
    select
        tree_id,
        unnest(nodes) as item
    from incoming_tree
)
select
    tree_id,
    item.node_id,
    item.parent_id,
    item.kind,
    item.depth,
    item.spine_index,
    item.role,
    item.text,
    item.attempts,
    item.flaw,
    item.first_flaw,
    item.redrawn,
    item.sample_count,
    case when isfinite(item.mean_logprob) then item.mean_logprob end as mean_logprob,
    item.end_reason
from unpacked
