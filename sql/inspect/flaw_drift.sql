-- One row per domain, role, flaw and cycle, the cycles in order: the share of first draws with the flaw in the searches, and its
-- standard error (over trees). `change` is from the cycle before; beyond two `change_in_errors` it is more than chance.
-- Answers: What changed since?
-- $flaw: one flaw, such as role_flip; all by default
-- $since: only cycles that began since this day, such as 2026-11-01; all by default
with said as (
    select
        cycle_id,
        domain,
        role,
        tree_id,
        coalesce(redrawn[1], first_flaw, flaw) as flaw
    from sampled_turn
    where purpose = 'search' and (attempts = 1 or redrawn is not null or first_flaw is not null)
),
looked_for as (
    select distinct
        domain,
        role,
        flaw
    from said
    where flaw is not null and flaw = coalesce($flaw::varchar, flaw)
),
tree_share as (
    select
        said.cycle_id,
        said.domain,
        said.role,
        looked_for.flaw,
        said.tree_id,
        count(*) as turns,
        count(*) filter (where said.flaw = looked_for.flaw) as flawed
    from said
    join looked_for on looked_for.domain is not distinct from said.domain and looked_for.role = said.role
    group by said.cycle_id, said.domain, said.role, looked_for.flaw, said.tree_id
),
pooled as (
    select
        cycle_id,
        domain,
        role,
        flaw,
        turns,
        flawed,
        sum(flawed) over same / sum(turns) over same as share
    from tree_share
    window same as (partition by cycle_id, domain, role, flaw)
),
cycle_share as (
    select
        pooled.domain,
        pooled.role,
        pooled.flaw,
        pooled.cycle_id,
        cycle.started_at,
        cycle.rowid as place,
        count(*) as trees,
        sum(pooled.turns)::bigint as turns,
        sum(pooled.flawed)::bigint as flawed,
        pooled.share,
        case
            when count(*) > 1
                then sqrt(sum(power(pooled.flawed - pooled.share * pooled.turns, 2)) * count(*) / (count(*) - 1)) / sum(pooled.turns)
        end as standard_error
    from pooled
    join cycle on cycle.cycle_id = pooled.cycle_id
    group by pooled.domain, pooled.role, pooled.flaw, pooled.cycle_id, cycle.started_at, cycle.rowid, pooled.share
),
compared as (
    select
        domain,
        role,
        flaw,
        cycle_id,
        started_at,
        place,
        trees,
        turns,
        flawed,
        share,
        standard_error,
        share - lag(share) over in_order as change,
        sqrt(power(standard_error, 2) + power(lag(standard_error) over in_order, 2)) as change_error
    from cycle_share
    window in_order as (partition by domain, role, flaw order by place)
)
select
    domain,
    role,
    flaw,
    cycle_id as cycle,
    started_at,
    trees,
    turns,
    flawed,
    round(share, 4) as share,
    round(standard_error, 4) as standard_error,
    round(change, 4) as change,
    round(change / nullif(change_error, 0), 1) as change_in_errors
from compared
where started_at >= coalesce($since::timestamp, started_at)
order by domain, role, flaw, place
