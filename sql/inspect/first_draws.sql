-- One row per tree of a cycle: its sampled user turns whose first draw is known, and how many of these spoke as the assistant (role
-- flip or refusal). `unknown` counts turns of an older version that were drawn again: it did not note why.
-- Internal
with drawn as (
    select
        tree_id,
        attempts = 1 or first_flaw is not null as known,
        coalesce(first_flaw, flaw) in ('role_flip', 'refusal') as as_assistant
    from sampled_turn
    where
        role = 'user'
        and purpose = 'search'
        and cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
)
select
    tree_id,
    count(*) filter (where known) as user_turns,
    count(*) filter (where known and as_assistant) as as_assistant,
    count(*) filter (where not known) as unknown
from drawn
group by tree_id
order by tree_id
