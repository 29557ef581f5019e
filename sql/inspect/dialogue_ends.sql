-- One row per purpose, policy, simulator, domain and reason for which dialogues ended; `crisis` is a user who spoke of self-harm.
-- Answers: Where do dialogues end?
select
    trajectory.purpose,
    trajectory.policy,
    trajectory.simulator,
    scenario.domain,
    trajectory.end_reason,
    count(*) as dialogues,
    round(count(*) / sum(count(*)) over (
        partition by trajectory.purpose, trajectory.policy, trajectory.simulator, scenario.domain
    ), 4) as share,
    round(avg(trajectory.exchanges), 2) as exchanges_mean
from trajectory
left join scenario on scenario.scenario_id = trajectory.scenario_id
where trajectory.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
group by trajectory.purpose, trajectory.policy, trajectory.simulator, scenario.domain, trajectory.end_reason
order by trajectory.purpose, trajectory.policy, trajectory.simulator, scenario.domain, dialogues desc, trajectory.end_reason
