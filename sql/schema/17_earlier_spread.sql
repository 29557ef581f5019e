-- One row per cycle and domain that was scored: what earlier cycles show of how far sibling replies' values differ (the prior of
-- reply_value's between_variance). It is kept, so that scoring a cycle again, also after a prune, gives the same values.
create table if not exists earlier_spread (
    cycle_id varchar not null, -- the cycle that was scored with it
    domain varchar, -- null where the scenario is not stored
    degrees double not null, -- number of comparisons between siblings that the prior counts as: 20 imagined ones, and at most 40 of each earlier cycle; 0 in cycles scored by schema 10 and older
    excess double not null, -- mean over these comparisons of squared deviation minus noise, in squared reward; 0 for the imagined ones
    boundary double not null, -- shape of the prior of the standard deviation, minus 1, a number without unit: above 0 it keeps the estimate from 0; 0 in cycles scored by schema 10 and older
    cycles varchar[] not null -- the earlier cycles that were counted, the latest first
)
