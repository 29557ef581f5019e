-- At most one row: the cycle that began last; one that holds nothing, because it failed at its beginning, only where no other does.
create or replace view latest_cycle as
select cycle.cycle_id
from cycle
order by
    exists (
        select 1
        from trajectory
        where trajectory.cycle_id = cycle.cycle_id
    ) desc,
    cycle.started_at desc,
    cycle.cycle_id desc
limit 1
