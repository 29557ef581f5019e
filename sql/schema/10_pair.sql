-- One row per pair of sibling replies at one spine node of a cycle's trees, both with evidence; chosen has the higher value.
create table if not exists pair (
    cycle_id varchar not null,
    scenario_id varchar not null,
    domain varchar,
    tree_id varchar not null,
    decision_id integer not null, -- node before both replies
    spine_index integer not null, -- exchanges held before both replies
    chosen_id integer not null, -- node after the reply
    rejected_id integer not null,
    chosen_groups integer not null, -- sampled user turns behind the reply's value
    rejected_groups integer not null,
    q_gap double not null, -- difference of the shrunk values, in reward
    q_gap_raw double not null, -- difference of the plain means, in reward
    p_greater double not null, -- P(value of chosen > value of rejected)
    accepted boolean not null,
    drop_reason varchar -- first reason against it; null if accepted
)
