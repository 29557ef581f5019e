-- One row per user turn of a cycle's searches that was kept with a flaw, where the same reply has clean user turns too: the mean reward through
-- it and through those. `effect` says whether the error helped the assistant (a higher reward) or hindered it. With few simulations behind a
-- turn a single difference says little. Turns below a search root's replies count, whose rewards can be compared.
-- Answers: What went wrong?
with answered as (
    select
        turns.tree_id,
        turns.scenario_id,
        turns.reply_id,
        turns.user_turn_id,
        turns.reward_mean,
        node.text,
        node.flaw
    from user_turn_reward as turns
    join node on node.tree_id = turns.tree_id and node.node_id = turns.user_turn_id
    where turns.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
),
clean as (
    select
        tree_id,
        reply_id,
        avg(reward_mean) as reward_mean,
        count(*) as turns
    from answered
    where flaw is null
    group by tree_id, reply_id
)
select
    scenario.domain,
    answered.scenario_id as scenario,
    answered.tree_id,
    answered.user_turn_id as node_id,
    answered.flaw,
    answered.text,
    round(answered.reward_mean, 4) as reward,
    clean.turns as clean_turns,
    round(clean.reward_mean, 4) as clean_reward,
    round(answered.reward_mean - clean.reward_mean, 9) as difference,
    case
        when round(answered.reward_mean - clean.reward_mean, 9) > 0 then 'helped'
        when round(answered.reward_mean - clean.reward_mean, 9) < 0 then 'hindered'
        else 'neither'
    end as effect
from answered
join clean on clean.tree_id = answered.tree_id and clean.reply_id = answered.reply_id
left join scenario on scenario.scenario_id = answered.scenario_id
where answered.flaw is not null
order by scenario.domain, answered.tree_id, answered.user_turn_id
