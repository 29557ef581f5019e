-- One row per dialogue whose id is or begins with $prefix, at most six, and per one of the latest cycle if that id lacks the cycle.
-- Internal
-- $prefix: the beginning of an id
with wanted as (
    select
        trajectory_id,
        case
            when trajectory_id = $prefix::varchar then 1
            when starts_with(trajectory_id, $prefix::varchar) then 2
            when trajectory_id = (select latest_cycle.cycle_id from latest_cycle) || '/' || $prefix::varchar then 3
            when starts_with(trajectory_id, (select latest_cycle.cycle_id from latest_cycle) || '/' || $prefix::varchar) then 4
        end as fit
    from trajectory
)
select trajectory_id as id
from wanted
where fit is not null
qualify fit = min(fit) over ()
order by trajectory_id
limit 6
