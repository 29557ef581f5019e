-- One row per evaluation dialogue: its user condition, its turns in order as a list of {role, text, flaw}, and the answer to the exit survey; value and reward are empty where the answer could not be read.
-- Internal
-- $policy: label of the assistant; all by default
-- $scenarios: a list of scenario ids; all by default
select
    outcome.policy,
    outcome.simulator,
    outcome.domain,
    outcome.scenario_id,
    outcome.seed,
    outcome.trajectory_id,
    outcome.user_condition,
    outcome.opening_turns,
    outcome.end_reason,
    outcome.reader,
    outcome.reaction_text,
    outcome.value,
    outcome.reward,
    list({'role': turn.role, 'text': turn.text, 'flaw': turn.flaw} order by turn.turn_index) as turns
from outcome
join turn on turn.trajectory_id = outcome.trajectory_id
where
    outcome.purpose = 'evaluation'
    and outcome.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    and outcome.policy = coalesce($policy::varchar, outcome.policy)
    and ($scenarios::varchar[] is null or list_contains($scenarios::varchar[], outcome.scenario_id))
group by
    outcome.policy,
    outcome.simulator,
    outcome.domain,
    outcome.scenario_id,
    outcome.seed,
    outcome.trajectory_id,
    outcome.user_condition,
    outcome.opening_turns,
    outcome.end_reason,
    outcome.reader,
    outcome.reaction_text,
    outcome.value,
    outcome.reward
order by outcome.policy, outcome.simulator, outcome.trajectory_id
