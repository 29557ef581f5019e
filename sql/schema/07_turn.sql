-- One row per turn of a trajectory, its opening included.
create table if not exists turn (
    trajectory_id varchar not null,
    turn_index integer not null, -- place in the dialogue, from 0; the opening counts
    role varchar not null, -- who said text: assistant or user
    text varchar not null, -- the turn as it was kept
    attempts integer not null,
    flaw varchar,
    first_flaw varchar,
    redrawn varchar[]
)
