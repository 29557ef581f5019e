-- One row per batch of evaluation dialogues, which are stored together when the last one ends: how many, and the seconds since the batch before it, null for the first one.
-- Internal
with batch as (
    select policy, simulator, stored_at, count(*) as dialogues
    from trajectory
    where
        purpose = 'evaluation'
        and cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by policy, simulator, stored_at
)
select
    policy,
    simulator,
    stored_at,
    dialogues,
    epoch(stored_at - lag(stored_at) over (order by stored_at, policy, simulator)) as seconds
from batch
order by stored_at, policy, simulator
