-- One row per trajectory: the user's answer to the exit survey.
create table if not exists reaction (
    trajectory_id varchar not null,
    reader varchar not null, -- pattern, expected, human for a person's own answer, unasked after a crisis
    text varchar not null, -- the answer as given, or the most probable choice
    value double, -- on the survey's scale; null where the answer could not be read
    reward double, -- value mapped to [0, 1] by the domain
    probabilities double[] not null -- of the survey's choices, in its order; empty for the reader pattern
)
