-- One row per reply at a spine node with at least one reward: the mean over its sampled user turns and their spread.
select
    turns.cycle_id,
    turns.scenario_id,
    scenario.domain,
    turns.tree_id,
    turns.decision_id,
    turns.spine_index,
    turns.reply_id,
    count(*) as group_count,
    avg(turns.reward_mean) as q_mean,
    var_samp(turns.reward_mean) as group_variance -- null for a single group
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
