-- One row per cycle and domain, the cycles in order: what its searches gave. `reward_error` is the standard error over scenarios;
-- `flawed` and `flipped` are the shares of user turns whose first draw had a flaw, or spoke as the assistant (role flip or refusal).
-- Answers: What changed since?
-- $since: only cycles that began since this day, such as 2026-11-01; all by default
with per_tree as (
    select
        cycle_id,
        domain,
        tree_id,
        count(*) as dialogues,
        count(*) filter (where reward is null and reader != 'unasked') as unreadable,
        avg(reward) as reward,
        avg(exchanges) as exchanges
    from search_outcome
    group by cycle_id, domain, tree_id
),
searched as (
    select
        cycle_id,
        domain,
        count(*) as trees,
        sum(dialogues)::bigint as dialogues,
        sum(unreadable)::bigint as unreadable,
        avg(reward) as reward,
        stddev_samp(reward) / sqrt(count(reward)) as reward_error,
        avg(exchanges) as exchanges
    from per_tree
    group by cycle_id, domain
),
accepted as (
    select
        cycle_id,
        domain,
        count(*) filter (where accepted) as pairs
    from pair
    group by cycle_id, domain
),
first_draw as (
    select
        cycle_id,
        domain,
        coalesce(redrawn[1], first_flaw, flaw) as flaw
    from sampled_turn
    where purpose = 'search' and role = 'user' and (attempts = 1 or redrawn is not null or first_flaw is not null)
),
flawed as (
    select
        cycle_id,
        domain,
        count(flaw) / count(*) as flawed,
        count(*) filter (where flaw in ('role_flip', 'refusal')) / count(*) as flipped
    from first_draw
    group by cycle_id, domain
)
select
    cycle.cycle_id as cycle,
    cycle.started_at,
    searched.domain,
    searched.trees,
    searched.dialogues,
    searched.unreadable,
    round(searched.reward, 4) as reward,
    round(searched.reward_error, 4) as reward_error,
    round(searched.exchanges, 2) as exchanges,
    accepted.pairs,
    round(accepted.pairs / searched.trees, 2) as pairs_per_tree,
    round(flawed.flawed, 4) as flawed,
    round(flawed.flipped, 4) as flipped
from cycle
join searched on searched.cycle_id = cycle.cycle_id
left join accepted
    on accepted.cycle_id = cycle.cycle_id and accepted.domain is not distinct from searched.domain
left join flawed on flawed.cycle_id = cycle.cycle_id and flawed.domain is not distinct from searched.domain
where cycle.started_at >= coalesce($since::timestamp, cycle.started_at)
order by cycle.rowid, searched.domain
