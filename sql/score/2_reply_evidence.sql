-- One row per reply at a spine node with at least one reward: the mean over its sampled user turns and their spread.
select
    turns.cycle_id,
    turns.scenario_id,
    scenario.domain,
    turns.tree_id,
    turns.decision_id, -- node before the reply
    turns.spine_index, -- exchanges held before the reply
    turns.reply_id,
    count(*) as group_count, -- sampled user turns with a reward below the reply
    avg(turns.reward_mean) as q_mean, -- plain value: mean reward over those user turns
    var_samp(turns.reward_mean) as group_variance -- of those means, in squared reward; null for a single user turn
from user_turn_reward as turns
left join scenario on scenario.scenario_id = turns.scenario_id
group by
    turns.cycle_id,
    turns.scenario_id,
    scenario.domain,
    turns.tree_id,
    turns.decision_id,
    turns.spine_index,
    turns.reply_id
