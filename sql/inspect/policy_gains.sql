-- One row per simulator, domain and two policies of the cycle, the later one second: their mean rewards on the dialogues that both held
-- (the same scenario and seed), and the difference with its standard error over scenarios. Policies that share no scenario give no row:
-- judging and `engage compare` use different halves of the validation split.
-- Answers: What does an evaluation rest on?
with held as (
    select
        policy,
        simulator,
        domain,
        scenario_id,
        seed,
        reward,
        row(starts_with(policy, 'candidate'), policy) as place -- base and champion before candidates
    from evaluation_outcome
    where
        reward is not null
        and cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
),
by_scenario as (
    select
        first.simulator,
        first.domain,
        first.policy as policy_a,
        second.policy as policy_b,
        first.place as place_a,
        second.place as place_b,
        first.scenario_id,
        count(*) as dialogues,
        avg(first.reward) as reward_a,
        avg(second.reward) as reward_b
    from held as first
    join held as second
        on second.simulator = first.simulator
        and second.scenario_id = first.scenario_id
        and second.seed = first.seed
        and second.place > first.place
    group by
        first.simulator,
        first.domain,
        first.policy,
        second.policy,
        first.place,
        second.place,
        first.scenario_id
)
select
    simulator,
    domain,
    policy_a,
    policy_b,
    count(*) as scenarios,
    sum(dialogues)::bigint as dialogues,
    round(avg(reward_a), 3) as reward_a,
    round(avg(reward_b), 3) as reward_b,
    round(avg(reward_b - reward_a), 3) as gain,
    round(stddev_samp(reward_b - reward_a) / sqrt(count(*)), 3) as gain_error
from by_scenario
group by simulator, domain, policy_a, policy_b, place_a, place_b
order by simulator, domain, place_a, place_b
