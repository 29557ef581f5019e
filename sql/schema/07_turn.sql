-- One row per turn of a trajectory, its opening included.
create table if not exists turn (
    trajectory_id varchar not null,
    turn_index integer not null, -- from 0
    role varchar not null, -- assistant or user
    text varchar not null,
    attempts integer not null, -- draws until this text was kept
    flaw varchar, -- what is still wrong with it; null for a clean turn
    first_flaw varchar -- what was wrong with the first draw; null also where it was not noted
)
