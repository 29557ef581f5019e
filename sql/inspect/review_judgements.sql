-- One row per judgement of a cycle, in the order in which they were made; what was taken back or replaced is among them.
-- Internal
select
    judgement_id,
    reviewer,
    kind,
    item_id,
    left_id,
    right_id,
    verdict,
    judged_at,
    seconds,
    sample,
    sample_size
from judgement
where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
order by judged_at, judgement_id
