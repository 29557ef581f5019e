-- What people judge of pairs and dialogues (engage review) is kept.
create table if not exists judgement (
    judgement_id varchar primary key,
    cycle_id varchar not null,
    kind varchar not null,
    item_id varchar not null,
    scenario_id varchar not null,
    tree_id varchar,
    left_id varchar not null,
    right_id varchar not null,
    verdict varchar not null,
    reviewer varchar not null,
    judged_at timestamp not null,
    seconds double not null,
    sample varchar not null,
    sample_size integer not null,
    sample_seed bigint,
    population integer,
    stored_at timestamp
)
