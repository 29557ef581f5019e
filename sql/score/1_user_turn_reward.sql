-- One row per sampled user turn below a reply at a spine node, with at least one reward that could be read.
-- The mean reward through one user turn is the unit of evidence: simulations through one turn are not independent.
-- Materialised, because joins of node with itself are taken for far larger than they are, and visit is then joined too early.
with user_turn as materialized (
    select
        decision.tree_id,
        decision.node_id as decision_id,
        decision.spine_index,
        reply.node_id as reply_id,
        user_turn.node_id as user_turn_id
    from node as decision
    join node as reply on reply.tree_id = decision.tree_id and reply.parent_id = decision.node_id
    join node as user_turn on user_turn.tree_id = reply.tree_id and user_turn.parent_id = reply.node_id
    where decision.spine_index is not null and decision.kind = 'decision'
)
select
    tree.cycle_id,
    tree.scenario_id,
    tree.tree_id,
    user_turn.decision_id, -- node before the reply
    user_turn.spine_index, -- exchanges held before the reply
    user_turn.reply_id, -- node after the reply
    user_turn.user_turn_id, -- node after the sampled user turn
    count(*) as reward_count, -- simulations through the user turn whose answer could be read
    avg(reaction.reward) as reward_mean -- their mean reward
from tree
join user_turn on user_turn.tree_id = tree.tree_id
join visit
    on visit.tree_id = user_turn.tree_id
    and visit.node_id = user_turn.user_turn_id
    and visit.depth % 2 = 0 -- user turns only: assistant and user alternate after the opening
join trajectory
    on trajectory.cycle_id = tree.cycle_id
    and trajectory.tree_id = visit.tree_id
    and trajectory.simulation = visit.simulation
join reaction on reaction.trajectory_id = trajectory.trajectory_id and known_reward(reaction.reward) is not null
group by
    tree.cycle_id,
    tree.scenario_id,
    tree.tree_id,
    user_turn.decision_id,
    user_turn.spine_index,
    user_turn.reply_id,
    user_turn.user_turn_id
