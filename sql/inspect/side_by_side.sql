-- One row per turn of two policies' evaluation dialogues on one scenario with one simulator, and a last one with both answers to the
-- exit survey: those dialogues first whose rewards differ most. Within a cycle both have the same seed; of two cycles, dialogues are
-- taken in the order of their seeds.
-- Answers: What does an evaluation rest on?
-- $a: label of a policy; the one that was evaluated first by default
-- $b: label of the other; by default the one that was evaluated last on the same scenarios
-- $other_cycle: the cycle of $b; the same by default
-- $scenario: one scenario; all by default
-- $dialogues: how many dialogues; 3 by default
with held as (
    select
        outcome.cycle_id,
        outcome.policy,
        outcome.simulator,
        outcome.domain,
        outcome.scenario_id,
        outcome.seed,
        outcome.trajectory_id,
        outcome.reaction_text,
        outcome.reward,
        -- a candidate's dialogues may be stored together with the incumbent's: then it comes last
        row(coalesce(trajectory.stored_at, '1970-01-01'::timestamp), starts_with(outcome.policy, 'candidate'), outcome.policy) as arrival,
        row_number() over (
            partition by outcome.cycle_id, outcome.policy, outcome.simulator, outcome.scenario_id
            order by outcome.seed
        ) as place
    from evaluation_outcome as outcome
    join trajectory on trajectory.trajectory_id = outcome.trajectory_id
    where outcome.scenario_id = coalesce($scenario::varchar, outcome.scenario_id)
),
own as (
    select
        policy,
        simulator,
        scenario_id,
        arrival
    from held
    where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
),
first_one as (
    select coalesce($a::varchar, arg_min(policy, arrival)) as a
    from own
),
-- judging and `engage compare` use different scenarios: only a policy with scenarios of the first can stand beside it
named as (
    select
        first_one.a,
        coalesce($b::varchar, (
            select arg_max(other.policy, other.arrival)
            from own as other
            join own on own.scenario_id = other.scenario_id and own.simulator = other.simulator
            where own.policy = first_one.a and other.policy <> first_one.a
        )) as b
    from first_one
),
matched as (
    select
        row_number() over (
            order by abs(first.reward - second.reward) desc nulls last, first.simulator, first.scenario_id, first.seed
        ) as place,
        first.simulator,
        first.scenario_id,
        first.trajectory_id as id_a,
        second.trajectory_id as id_b,
        first.reaction_text as answer_a,
        second.reaction_text as answer_b,
        first.reward as reward_a,
        second.reward as reward_b
    from named
    join held as first
        on first.policy = named.a
        and first.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    join held as second
        on second.policy = named.b
        and second.cycle_id = coalesce($other_cycle::varchar, first.cycle_id)
        and second.trajectory_id <> first.trajectory_id
        and second.simulator = first.simulator
        and second.scenario_id = first.scenario_id
        and case when second.cycle_id = first.cycle_id then second.seed = first.seed else second.place = first.place end
    order by place
    limit coalesce($dialogues::integer, 3)
),
line as (
    select
        matched.place,
        turn.turn_index,
        turn.role as speaker,
        turn.text as text_a,
        null::varchar as text_b
    from matched
    join turn on turn.trajectory_id = matched.id_a
    union all by name
    select
        matched.place,
        turn.turn_index,
        turn.role as speaker,
        turn.text as text_b
    from matched
    join turn on turn.trajectory_id = matched.id_b
    union all by name
    select
        place,
        null as turn_index,
        'survey' as speaker,
        answer_a as text_a,
        answer_b as text_b
    from matched
)
select
    matched.scenario_id as scenario,
    matched.simulator,
    line.speaker,
    max(line.text_a) as text_a,
    max(line.text_b) as text_b,
    case when line.turn_index is null then round(matched.reward_a, 3) end as reward_a,
    case when line.turn_index is null then round(matched.reward_b, 3) end as reward_b,
    matched.id_a,
    matched.id_b
from matched
join line on line.place = matched.place
group by
    matched.place,
    matched.scenario_id,
    matched.simulator,
    line.turn_index,
    line.speaker,
    matched.reward_a,
    matched.reward_b,
    matched.id_a,
    matched.id_b
order by matched.place, line.turn_index nulls last
