-- One row per node: N (visit_count) and Q (q_value), rebuilt from visits and reactions.
create or replace view node_value as
select
    tree.cycle_id,
    node.tree_id,
    node.node_id,
    count(visit.simulation) as visit_count, -- N: simulations through the node
    count(known_reward(reaction.reward)) as reward_count, -- simulations through the node whose answer could be read
    coalesce(sum(known_reward(reaction.reward)), 0) as reward_sum, -- sum of the rewards of those simulations
    avg(known_reward(reaction.reward)) as q_value -- Q: mean reward of those simulations; null before the first
from tree
join node on node.tree_id = tree.tree_id
left join visit on visit.tree_id = node.tree_id and visit.node_id = node.node_id
left join trajectory
    on trajectory.cycle_id = tree.cycle_id
    and trajectory.tree_id = visit.tree_id
    and trajectory.simulation = visit.simulation
left join reaction on reaction.trajectory_id = trajectory.trajectory_id
group by tree.cycle_id, node.tree_id, node.node_id
