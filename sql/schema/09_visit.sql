-- One row per node on one simulation's path, from the tree's root down.
create table if not exists visit (
    tree_id varchar not null,
    simulation integer not null, -- its number within the tree, from 0
    node_id integer not null,
    depth integer not null -- of the node: turns since the opening
)
