-- One row per dialogue between people that a cycle took pairs from, with the outcome that its corpus notes (scenario.source names it),
-- and per conversation of a person that was saved (cycle_id 'chat').
create or replace view human_outcome as
select
    cycle_id,
    domain, -- kind of conversation; null where the scenario is not stored
    scenario_id,
    user_condition,
    trajectory_id,
    opening_turns,
    exchanges,
    reaction_text,
    value,
    reward,
    measures,
    stored_at
from outcome
where purpose = 'human'
