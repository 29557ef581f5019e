-- One row per fresh dialogue of a policy on a held-out scenario. Compare policies only within one cycle and one simulator, on scenarios and
-- seeds that they share: judging and `engage compare` use different halves of the validation split. The query policy_gains does so.
create or replace view evaluation_outcome as
select
    cycle_id,
    policy, -- label of the assistant: base, or its role and the first digits of its weights
    simulator, -- label of the simulated user: search for the search's own, else the held-out one
    domain, -- kind of conversation; null where the scenario is not stored
    scenario_id,
    user_condition,
    trajectory_id,
    seed, -- the dialogue's own; two policies with the same scenario, simulator and seed had the same chances
    opening_turns,
    exchanges,
    end_reason, -- why the dialogue ended: farewell, max_exchanges, crisis, a flaw, or the domain's own word
    reader,
    reaction_text,
    value,
    reward,
    measures,
    stored_at
from outcome
where purpose = 'evaluation'
