-- One row per evaluation dialogue of $policy with $simulator on $scenarios (or all): its turns in order, as a list of {role, text}.
-- Answers: What does an evaluation rest on?
-- $policy: label of one policy; all by default
-- $simulator: label of one simulator; all by default
-- $scenarios: a list of scenarios; all by default
select
    outcome.policy,
    outcome.simulator,
    outcome.domain,
    outcome.scenario_id,
    outcome.trajectory_id,
    outcome.opening_turns,
    list({'role': turn.role, 'text': turn.text} order by turn.turn_index) as turns
from outcome
join turn on turn.trajectory_id = outcome.trajectory_id
where
    outcome.purpose = 'evaluation'
    and outcome.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    and outcome.policy = coalesce($policy::varchar, outcome.policy)
    and ($scenarios::varchar[] is null or list_contains($scenarios::varchar[], outcome.scenario_id))
    and outcome.simulator = coalesce($simulator::varchar, outcome.simulator)
group by
    outcome.policy,
    outcome.simulator,
    outcome.domain,
    outcome.scenario_id,
    outcome.trajectory_id,
    outcome.opening_turns
order by outcome.policy, outcome.simulator, outcome.trajectory_id
