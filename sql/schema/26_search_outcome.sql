-- One row per simulation of a search: its scenario, its tree and the reaction it ended in. A scenario has many, and they are not independent.
create or replace view search_outcome as
select
    cycle_id,
    domain, -- kind of conversation; null where the scenario is not stored
    scenario_id,
    user_condition,
    simulator, -- label of the user that the tree drew; null where all trees of the cycle have the same
    trajectory_id,
    tree_id, -- the search it belongs to: cycle_id/scenario_id
    simulation, -- its number within the tree, from 0
    seed, -- the cycle's seed
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
where purpose = 'search'
