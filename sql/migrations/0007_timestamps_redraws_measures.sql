-- When a tree, a dialogue and a figure reached the database and a pair was judged, why each thrown-away draw of a turn was, and the
-- domain's other measures beside the reward. For the domains that came with earlier versions they follow from what is stored; those of a
-- domain of one's own are computed by the next `engage align`.
alter table tree add column if not exists stored_at timestamp;
alter table trajectory add column if not exists stored_at timestamp;
alter table pair add column if not exists scored_at timestamp;
alter table evaluation add column if not exists stored_at timestamp;
alter table node add column if not exists redrawn varchar[];
alter table turn add column if not exists redrawn varchar[];
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
