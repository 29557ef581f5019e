-- One row per node of a tree: a dialogue prefix, and the turn that led to it. Visits and values: view node_value.
create table if not exists node (
    tree_id varchar not null,
    node_id integer not null, -- order of creation; 0 is the tree's root, whose prefix is the opening
    parent_id integer,
    kind varchar not null, -- who speaks next: decision (assistant), chance (user), terminal (nobody)
    depth integer not null, -- turns since the opening
    spine_index integer, -- exchanges held when the node was a search root; null off the spine
    role varchar, -- who said text; null at the root
    text varchar,
    attempts integer not null, -- draws until this text was kept
    flaw varchar, -- what is still wrong with it; null for a clean turn
    sample_count integer not null, -- equal samples merged into it
    mean_logprob double, -- natural log, per token
    end_reason varchar, -- why the dialogue is over; terminal nodes only
    first_flaw varchar -- what was wrong with the first draw; null also where it was not noted
)
