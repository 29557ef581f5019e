-- What earlier cycles show of how far siblings' values differ is kept with each cycle that is scored. Cycles that were scored before keep
-- their scores: no earlier cycle counts (degrees 0), and the estimate may be 0 (boundary 0).
create table if not exists earlier_spread (
    cycle_id varchar not null,
    domain varchar,
    degrees double not null,
    excess double not null,
    boundary double not null,
    cycles varchar[] not null
);
insert into earlier_spread
select distinct
    cycle_id,
    domain,
    0,
    0,
    0,
    []::varchar[]
from pair
