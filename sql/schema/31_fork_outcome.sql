-- One row per continuation of a fork: a stored dialogue that went on from one of its turns, or from another turn in its place. Compare
-- edited and unedited ones with the same seed.
create or replace view fork_outcome as
with fork as (
    select
        cycle_id,
        policy,
        simulator,
        domain,
        scenario_id,
        trajectory_id,
        regexp_extract(trajectory_id, '^(.*)/fork/[0-9]+/[0-9a-f]{8}/[0-9]+$', 1) as forked_id,
        try_cast(regexp_extract(trajectory_id, '/fork/([0-9]+)/[0-9a-f]{8}/[0-9]+$', 1) as integer) as turn_index,
        seed,
        exchanges,
        end_reason,
        value,
        reward,
        stored_at
    from outcome
    where purpose = 'fork'
)
select
    fork.cycle_id,
    fork.policy, -- label of the assistant
    fork.simulator, -- label of the simulated user
    fork.domain, -- kind of conversation; null where the scenario is not stored
    fork.scenario_id,
    fork.trajectory_id,
    fork.forked_id, -- trajectory_id of the dialogue that was forked
    fork.turn_index, -- the turn it goes on from, in the forked dialogue and in this one
    turn.text, -- what is said at that turn
    turn.text is distinct from original.text as edited, -- whether the forked dialogue has another text there
    fork.seed, -- the continuation's own; an edited and an unedited one with the same seed had the same chances
    fork.exchanges,
    fork.end_reason,
    fork.value,
    fork.reward,
    fork.stored_at
from fork
join turn on turn.trajectory_id = fork.trajectory_id and turn.turn_index = fork.turn_index
left join turn as original on original.trajectory_id = fork.forked_id and original.turn_index = fork.turn_index
