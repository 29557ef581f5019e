-- One row per assistant reply after the opening in the evaluation dialogues (of $policy, on $scenarios, or all), in order.
-- Answers: What does an evaluation rest on?
-- $policy: label of one policy; all by default
-- $scenarios: a list of scenarios; all by default
select
    outcome.policy,
    outcome.simulator,
    outcome.domain,
    outcome.scenario_id,
    outcome.seed,
    outcome.trajectory_id,
    turn.turn_index,
    turn.text,
    turn.flaw
from outcome
join turn
    on turn.trajectory_id = outcome.trajectory_id
    and turn.role = 'assistant'
    and turn.turn_index >= outcome.opening_turns
where
    outcome.purpose = 'evaluation'
    and outcome.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    and outcome.policy = coalesce($policy::varchar, outcome.policy)
    and ($scenarios::varchar[] is null or list_contains($scenarios::varchar[], outcome.scenario_id))
order by outcome.policy, outcome.trajectory_id, turn.turn_index
