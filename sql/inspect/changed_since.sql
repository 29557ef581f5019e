-- One row per cycle and kind of data that reached the store since a moment (UTC): how many rows, and the first and last of them. Rows
-- of an older version have no time and are not counted.
-- Answers: What changed since?
-- $since: a day or moment, such as 2026-11-01; a week ago by default
-- $cycle: one cycle; all by default
with change as (
    select
        cycle_id,
        'cycle begun' as what,
        started_at as changed_at
    from cycle
    union all
    select
        cycle_id,
        'tree stored',
        stored_at
    from tree
    union all
    select
        cycle_id,
        purpose || ' dialogue stored',
        stored_at
    from trajectory
    where purpose <> 'search'
    union all
    select
        cycle_id,
        'pair judged',
        scored_at
    from pair
    union all
    select
        cycle_id,
        'figure of an evaluation stored',
        stored_at
    from evaluation
    union all
    select
        cycle_id,
        'judgement of a person stored',
        stored_at
    from judgement
)
select
    change.cycle_id as cycle,
    change.what,
    count(*) as rows,
    min(change.changed_at) as first_at,
    max(change.changed_at) as last_at
from change
where
    change.changed_at >= coalesce($since::timestamp, utc_now() - interval 7 day)
    and change.cycle_id = coalesce($cycle::varchar, change.cycle_id)
group by change.cycle_id, change.what
order by last_at desc, change.cycle_id, change.what
