-- One row per role and flaw of the turns a model said: how many were kept with it. `redrawn` counts the turns drawn more than
-- once, whatever was kept; flaw is empty for clean turns.
with path as (
    select
        tree_id,
        simulation,
        max(depth) as depth
    from visit
    group by tree_id, simulation
),
said as (
    -- replies and user turns of the trees; the rollouts below them follow
    select
        node.role,
        node.attempts,
        node.flaw
    from tree
    join node on node.tree_id = tree.tree_id and node.role is not null
    where tree.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    union all by name
    select
        turn.role,
        turn.attempts,
        turn.flaw
    from outcome
    left join path on path.tree_id = outcome.tree_id and path.simulation = outcome.simulation
    join turn
        on turn.trajectory_id = outcome.trajectory_id
        and turn.turn_index >= outcome.opening_turns + coalesce(path.depth, 0)
    where
        outcome.purpose <> 'human'
        and outcome.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
)
select
    role,
    flaw,
    count(*) as turns,
    round(count(*) / sum(count(*)) over (partition by role), 4) as share,
    count(*) filter (where attempts > 1) as redrawn,
    sum(attempts)::bigint as draws
from said
group by role, flaw
order by role, turns desc, flaw
