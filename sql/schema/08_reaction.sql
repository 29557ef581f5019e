-- One row per trajectory: the user's answer to the exit survey.
create table if not exists reaction (
    trajectory_id varchar not null,
    reader varchar not null, -- how the answer was read: pattern, expected, human for a person's own; unasked: the survey was not asked (after a crisis or a turn without words)
    text varchar not null, -- the answer as given, or the most probable choice
    value double, -- answer on the survey's own scale (intensity 1 to 5, dollars 0 to 2); null where it could not be read or was not asked
    reward double, -- value mapped by the domain to 0 (worst) to 1 (best); null where value is null
    probabilities double[] not null, -- probability of each of the survey's choices, in its order; empty for the reader pattern
    measures map(varchar, double) -- the domain's other measures of the answer: a number by name, such as relief; null where none was computed
)
