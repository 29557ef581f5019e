-- One row per cycle and domain that was scored: what was known before of how far sibling replies' values differ (the prior of
-- reply_value's between_variance). It is kept, so that a cycle scored again later, or after a prune, is scored alike.
create table if not exists earlier_spread (
    cycle_id varchar not null, -- the cycle that was scored with it
    domain varchar, -- null where the scenario is not stored
    degrees double not null, -- number of comparisons between siblings that it counts as: 20 imagined ones, and at most 40 of each earlier cycle
    excess double not null, -- mean over these of squared deviation minus noise, in squared reward; of the imagined ones 0
    boundary double not null, -- shape of the prior of the standard deviation minus 1, a number: keeps the estimate from 0; 0: not at all, in cycles scored by schema 10 and older
    cycles varchar[] not null -- the earlier cycles that were counted, the latest first
)
