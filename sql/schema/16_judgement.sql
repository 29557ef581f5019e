-- One row per judgement of a person: a reviewer compared two replies to one prefix, or two held-out dialogues. Rows are only added: a
-- later one of the same reviewer and item counts in place of the earlier one (see latest_judgement).
create table if not exists judgement (
    judgement_id varchar primary key, -- digest of reviewer, item and time
    cycle_id varchar not null,
    kind varchar not null, -- what was compared: pair (two sibling replies) or dialogue (incumbent and candidate)
    item_id varchar not null, -- both sides in an order that does not depend on how they were shown; alike for all reviewers
    scenario_id varchar not null,
    tree_id varchar, -- the tree of a pair; null for a dialogue
    left_id varchar not null, -- what was shown as A: node_id of a reply, as text, or trajectory_id of a dialogue
    right_id varchar not null, -- what was shown as B, likewise
    verdict varchar not null, -- left, right, equal, nonsense, harmful, or withdrawn: the reviewer took the earlier one back
    reviewer varchar not null, -- the name that the person gave, or their account
    judged_at timestamp not null, -- UTC; later than any earlier judgement of this reviewer
    seconds double not null, -- from when the item was shown to the judgement, in seconds
    sample varchar not null, -- how items were chosen: random (drawn by chance) or list (named by the reviewer)
    sample_size integer not null, -- items of the sample
    sample_seed bigint, -- of the draw; null for a list
    population integer, -- items that the sample was drawn from; null for a list
    stored_at timestamp
)
