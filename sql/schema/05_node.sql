-- One row per node of a tree: a dialogue prefix, and the turn that led to it. Visits and values: view node_value.
create table if not exists node (
    tree_id varchar not null,
    node_id integer not null, -- order of creation in its tree; 0 is the tree's root, whose prefix is the opening
    parent_id integer, -- the node one turn before; null at the root
    kind varchar not null, -- who speaks next: decision (assistant), chance (user), terminal (nobody)
    depth integer not null, -- turns since the opening
    spine_index integer, -- exchanges held when the node was a search root; null off the spine
    role varchar, -- who said text, assistant or user; null at the root
    text varchar, -- the turn as it was kept; null at the root
    attempts integer not null, -- draws until this text was kept
    flaw varchar, -- what is still wrong with the kept turn; null for a clean turn
    sample_count integer not null, -- equal samples merged into it
    mean_logprob double, -- mean log-probability of a token, natural log; null where the engine gives none
    end_reason varchar, -- why the dialogue is over; null except at terminal nodes
    first_flaw varchar, -- what was wrong with the first draw; null for a clean first draw, and where it was not noted
    redrawn varchar[] -- what was wrong with each draw that was thrown away, in order; empty if the first was kept, null where not noted
)
