-- One row per turn of the best and of the worst dialogue of one tree, with N and Q of the prefix that ends with the turn (empty below
-- the tree and in the opening).
-- Answers: What was said?
-- $scenario: a searched scenario; by default the one whose dialogues differ most in reward
with searched as (
    select
        tree_id,
        simulation,
        trajectory_id,
        scenario_id,
        opening_turns,
        reward,
        row_number() over (partition by tree_id order by reward desc, simulation) as from_best,
        row_number() over (partition by tree_id order by reward, simulation) as from_worst,
        max(reward) over (partition by tree_id) - min(reward) over (partition by tree_id) as reward_range
    from search_outcome
    where
        reward is not null
        and cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
),
wanted as (
    select tree_id
    from searched
    where scenario_id = coalesce($scenario::varchar, scenario_id)
    order by reward_range desc, tree_id
    limit 1
),
ends as (
    select
        'best' as path,
        tree_id,
        simulation,
        trajectory_id,
        opening_turns,
        reward
    from searched
    where from_best = 1 and tree_id in (select wanted.tree_id from wanted)
    union all
    select
        'worst',
        tree_id,
        simulation,
        trajectory_id,
        opening_turns,
        reward
    from searched
    where from_worst = 1 and tree_id in (select wanted.tree_id from wanted)
)
select
    ends.path,
    turn.turn_index,
    turn.role as speaker,
    turn.text,
    turn.flaw,
    node_value.visit_count as visits,
    round(node_value.q_value, 3) as q_value,
    round(ends.reward, 3) as reward,
    ends.trajectory_id as id
from ends
join turn on turn.trajectory_id = ends.trajectory_id
left join visit
    on visit.tree_id = ends.tree_id
    and visit.simulation = ends.simulation
    and visit.depth > 0
    and visit.depth = turn.turn_index - ends.opening_turns::integer + 1
left join node_value on node_value.tree_id = visit.tree_id and node_value.node_id = visit.node_id
order by ends.path, turn.turn_index
