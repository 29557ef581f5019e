-- At most one row: the cycle that began last.
create or replace view latest_cycle as
select cycle_id
from cycle
order by started_at desc, cycle_id desc
limit 1
