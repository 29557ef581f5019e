-- One row per policy, simulator and domain of the evaluation dialogues (on $scenarios, or all): dialogues, and what each cost on the mean, both sides together. A mean of tokens is empty (unknown) where the server left one out.
-- Answers: What did it cost?
-- $scenarios: a list of scenarios; all by default
with dialogue as (
    select trajectory.trajectory_id, trajectory.policy, trajectory.simulator, scenario.domain
    from trajectory
    join scenario on scenario.scenario_id = trajectory.scenario_id
    where
        trajectory.purpose = 'evaluation'
        and ($scenarios::varchar[] is null or list_contains($scenarios::varchar[], trajectory.scenario_id))
        and trajectory.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
)
select
    dialogue.policy,
    dialogue.simulator,
    dialogue.domain,
    count(distinct dialogue.trajectory_id) as dialogues,
    count(engine_call.key) / count(distinct dialogue.trajectory_id) as calls,
    case
        when count(engine_call.completion_tokens) = count(engine_call.key)
            then coalesce(sum(engine_call.completion_tokens), 0) / count(distinct dialogue.trajectory_id)
    end as completion_tokens,
    case
        when count(engine_call.prompt_tokens - engine_call.cached_tokens) = count(engine_call.key)
            then
                coalesce(sum(engine_call.prompt_tokens - engine_call.cached_tokens), 0)
                / count(distinct dialogue.trajectory_id)
    end as computed_prompt_tokens
from dialogue
left join engine_call on engine_call.origin_id = dialogue.trajectory_id
group by dialogue.policy, dialogue.simulator, dialogue.domain
order by dialogue.policy, dialogue.simulator, dialogue.domain
