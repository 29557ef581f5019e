-- One row per pair of sibling replies at one spine node of a cycle's trees, both with evidence; chosen has the higher value.
create table if not exists pair (
    cycle_id varchar not null,
    scenario_id varchar not null,
    domain varchar, -- kind of conversation; null where the scenario is not stored
    tree_id varchar not null,
    decision_id integer not null, -- node before both replies
    spine_index integer not null, -- exchanges held before both replies
    chosen_id integer not null, -- node after the better reply
    rejected_id integer not null, -- node after the worse reply
    chosen_groups integer not null, -- sampled user turns behind the better reply's value
    rejected_groups integer not null, -- sampled user turns behind the worse reply's value
    q_gap double not null, -- difference of the shrunk values, in reward
    q_gap_raw double not null, -- difference of the plain means, in reward
    p_greater double not null, -- probability that the chosen reply's value is the higher one, 0.5 to 1
    accepted boolean not null, -- whether training may use the pair
    drop_reason varchar, -- first reason against the pair; null if accepted
    scored_at timestamp -- when the pair was judged, UTC; null in rows of schema 6 and older
)
