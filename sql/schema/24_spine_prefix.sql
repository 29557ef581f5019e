-- One row per search root: the turns between the opening and it, as a list of {role, text}.
create or replace view spine_prefix as
with exchange as (
    select
        tree.cycle_id,
        root.tree_id,
        root.node_id,
        root.spine_index,
        case
            when root.spine_index = 0 then []
            else [{'role': reply.role, 'text': reply.text}, {'role': root.role, 'text': root.text}]
        end as turns
    from tree
    join node as root on root.tree_id = tree.tree_id
    left join node as reply on reply.tree_id = root.tree_id and reply.node_id = root.parent_id
    where root.spine_index is not null
)
select
    cycle_id,
    tree_id,
    node_id, -- the search root, a node of the tree
    spine_index,
    flatten(list(turns) over (partition by cycle_id, tree_id order by spine_index)) as turns -- what was said between opening and root, a list of {role, text}
from exchange
