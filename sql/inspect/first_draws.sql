-- One row per tree of a cycle: its sampled user turns whose first draw is known, and how many of these spoke as the assistant (role
-- flip or refusal). `unknown` counts turns of an older version that were drawn again: it did not note why.
with path as (
    select
        tree_id,
        simulation,
        max(depth) as depth
    from visit
    group by tree_id, simulation
),
said as (
    -- user turns of the trees; those of the rollouts below them follow
    select
        node.tree_id,
        node.attempts,
        node.flaw,
        node.first_flaw
    from tree
    join node on node.tree_id = tree.tree_id and node.role = 'user'
    where tree.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    union all by name
    select
        outcome.tree_id,
        turn.attempts,
        turn.flaw,
        turn.first_flaw
    from outcome
    join path on path.tree_id = outcome.tree_id and path.simulation = outcome.simulation
    join turn
        on turn.trajectory_id = outcome.trajectory_id
        and turn.turn_index >= outcome.opening_turns + path.depth
        and turn.role = 'user'
    where
        outcome.purpose = 'search'
        and outcome.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
),
drawn as (
    select
        tree_id,
        attempts = 1 or first_flaw is not null as known,
        coalesce(first_flaw, flaw) in ('role_flip', 'refusal') as as_assistant
    from said
)
select
    tree_id,
    count(*) filter (where known) as user_turns,
    count(*) filter (where known and as_assistant) as as_assistant,
    count(*) filter (where not known) as unknown
from drawn
group by tree_id
order by tree_id
