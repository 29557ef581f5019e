-- One row per fate of the pairs of cycle $cycle: accepted, or the reason against them.
select
    coalesce(drop_reason, 'accepted') as fate,
    count(*) as pairs
from pair
where cycle_id = $cycle
group by coalesce(drop_reason, 'accepted')
order by pairs desc, fate
