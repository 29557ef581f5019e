-- At most one row: the cycle that began last of those that hold dialogues; where none does, the one that began last.
create or replace view latest_cycle as
select cycle.cycle_id -- the cycle that named queries answer for by default
from cycle
order by
    exists (
        select 1
        from trajectory
        where trajectory.cycle_id = cycle.cycle_id
    ) desc,
    cycle.rowid desc -- the order of arrival; a clock may be set back
limit 1
