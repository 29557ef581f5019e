-- The domain's other measures are kept beside the reward. For the domains that came with earlier versions they follow from what is stored;
-- those of a domain of one's own are computed by the next `engage align`.
alter table reaction add column if not exists measures map(varchar, double);
update reaction
set measures = map {
    'relief': (scenario.user_condition ->> '$.initial_intensity')::double - reaction.value,
    'released': (reaction.value <= 2)::integer::double,
    'worsened': ((scenario.user_condition ->> '$.initial_intensity')::double < reaction.value)::integer::double
}
from trajectory
join scenario on scenario.scenario_id = trajectory.scenario_id and scenario.domain = 'emotional_support'
where trajectory.trajectory_id = reaction.trajectory_id and isfinite(reaction.value);
update reaction
set measures = map {'donation_usd': reaction.value, 'donated': (reaction.value >= 0.25)::integer::double}
from trajectory
join scenario on scenario.scenario_id = trajectory.scenario_id and scenario.domain = 'persuasion'
where trajectory.trajectory_id = reaction.trajectory_id and isfinite(reaction.value)
