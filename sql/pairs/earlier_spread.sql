-- One row per domain of earlier_cycle: the prior of how far siblings' values differ in cycle $cycle. $earlier names all cycles of earlier_cycle.
-- An earlier cycle counts as at most 40 comparisons between siblings, so that no large old night decides alone; 20 imagined ones
-- without a difference keep a first small night from taking noise for a difference.
with counted as (
    select distinct
        cycle_id,
        domain,
        least(sibling_degrees, 40) as degrees,
        sibling_excess as excess
    from reply_value
    where list_contains($earlier::varchar[], cycle_id) -- each on its own, so that only these cycles' trees are read
)
select
    $cycle as cycle_id,
    earlier_cycle.domain,
    20 + coalesce(sum(counted.degrees), 0) as degrees,
    round(coalesce(sum(counted.degrees * counted.excess) / (20 + sum(counted.degrees)), 0), 12) as excess,
    0.25 as boundary,
    coalesce(
        list(counted.cycle_id order by earlier_cycle.place desc) filter (where counted.cycle_id is not null), []
    ) as cycles
from earlier_cycle
left join counted on counted.cycle_id = earlier_cycle.cycle_id and counted.domain = earlier_cycle.domain
group by earlier_cycle.domain
