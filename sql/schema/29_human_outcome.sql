-- One row per dialogue between people, with the outcome that the corpus notes.
create or replace view human_outcome as
select
    cycle_id,
    policy, -- label: the corpus
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
