-- One row per batch of fresh dialogues that counts in a challenge: on each scenario one dialogue of each side, with the same seed.
create table if not exists challenge_batch (
    number integer not null, -- the challenge that it counts in
    seed bigint not null, -- of the dialogues
    cycle_id varchar not null, -- under which they are stored
    primary key (number, seed)
)
