-- One row per purpose, policy, simulator, domain and style of the replies in a dialogue: `reply_words` is their mean length, the others
-- say whether no, some or all replies ask, name a number or exclaim. `against_scenario` is the reward above the mean of the same
-- scenario's dialogues (empty where it has one): it takes out that some users are easier to move.
-- Answers: Which replies are better, and how sure is that?
with reply as (
    select
        outcome.purpose,
        outcome.policy,
        outcome.simulator,
        outcome.domain,
        outcome.scenario_id,
        outcome.trajectory_id,
        outcome.reward,
        len(regexp_extract_all(turn.text, '[\pL\pN$]+(?:[''’][\pL\pN]+)*')) as words,
        contains(turn.text, '?') as asks,
        regexp_matches(turn.text, '[0-9]') as names_number,
        contains(turn.text, '!') as exclaims
    from outcome
    join turn
        on turn.trajectory_id = outcome.trajectory_id
        and turn.role = 'assistant'
        and turn.turn_index >= outcome.opening_turns
    where
        outcome.purpose in ('search', 'evaluation')
        and outcome.reward is not null
        and outcome.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
),
dialogue as (
    select
        purpose,
        policy,
        simulator,
        domain,
        scenario_id,
        reward,
        case
            when count(*) over same_scenario > 1 then reward - avg(reward) over same_scenario
        end as against_scenario,
        case
            when avg(words) <= 10 then '0 to 10'
            when avg(words) <= 20 then '10 to 20'
            when avg(words) <= 30 then '20 to 30'
            else 'over 30'
        end as reply_words,
        case when bool_and(asks) then 'all' when bool_or(asks) then 'some' else 'none' end as asks,
        case when bool_and(names_number) then 'all' when bool_or(names_number) then 'some' else 'none' end as names_number,
        case when bool_and(exclaims) then 'all' when bool_or(exclaims) then 'some' else 'none' end as exclaims
    from reply
    group by purpose, policy, simulator, domain, scenario_id, trajectory_id, reward
    window same_scenario as (partition by purpose, policy, simulator, scenario_id)
),
styled as (
    unpivot dialogue
    on reply_words, asks, names_number, exclaims
    into name style value level
)
select
    purpose,
    policy,
    simulator,
    domain,
    style,
    level,
    count(*) as dialogues,
    count(distinct scenario_id) as scenarios,
    round(avg(reward), 3) as reward,
    round(avg(against_scenario), 3) + 0.0 as against_scenario
from styled
group by purpose, policy, simulator, domain, style, level
order by purpose, policy, simulator, domain, style, level
