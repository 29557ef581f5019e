-- One row per turn that a model said, in a search or an evaluation: replies and user turns of the trees, and what followed below them.
-- A tree's equal replies are one row, with the draws of the first.
create or replace view sampled_turn as
with drawn as (
    select
        tree_id,
        any_value(simulator) as simulator
    from trajectory
    where purpose = 'search' and simulator is not null
    group by tree_id
),
path as (
    select
        tree_id,
        simulation,
        max(depth) as depth
    from visit
    group by tree_id, simulation
)
select
    tree.cycle_id,
    'search' as purpose, -- what the turn was said for: search or evaluation
    null::varchar as policy, -- label of the assistant; null in a search, where it is the cycle's champion
    drawn.simulator, -- label of the simulated user; in a search that of its tree, null where all trees of the cycle have the same
    scenario.domain, -- kind of conversation; null where the scenario is not stored
    tree.scenario_id,
    tree.tree_id, -- the search it belongs to; null outside a search
    node.role, -- who said text: assistant or user
    node.text, -- the turn as it was kept
    node.attempts,
    node.flaw,
    node.first_flaw,
    node.redrawn
from tree
join node on node.tree_id = tree.tree_id and node.role is not null
left join scenario on scenario.scenario_id = tree.scenario_id
left join drawn on drawn.tree_id = tree.tree_id
union all by name
select
    outcome.cycle_id,
    outcome.purpose,
    outcome.policy,
    outcome.simulator,
    outcome.domain,
    outcome.scenario_id,
    outcome.tree_id,
    turn.role,
    turn.text,
    turn.attempts,
    turn.flaw,
    turn.first_flaw,
    turn.redrawn
from outcome
left join path on path.tree_id = outcome.tree_id and path.simulation = outcome.simulation
join turn
    on turn.trajectory_id = outcome.trajectory_id
    and turn.turn_index >= outcome.opening_turns + coalesce(path.depth, 0)
where outcome.purpose in ('search', 'evaluation')
