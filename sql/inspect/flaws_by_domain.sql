-- One row per purpose, policy, simulator, domain, role and flaw of the turns a model drew: `first_draws` had it at the first draw,
-- `draws` at any, `kept` still have it. `first_share` is of the `turns` whose draws are known; flaw is empty for clean draws.
-- `unknown` counts turns of an older version that were drawn again: it did not note why, or for the first draw only.
-- Answers: What went wrong?
with drawn as (
    select
        purpose,
        policy,
        simulator,
        domain,
        role,
        attempts,
        flaw,
        coalesce(redrawn, case when attempts = 1 then [] when first_flaw is not null then [first_flaw] end) as thrown
    from sampled_turn
    where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
),
draw as (
    select
        purpose,
        policy,
        simulator,
        domain,
        role,
        unnest(list_append(thrown, flaw)) as flaw,
        unnest(range(len(thrown) + 1)) as place,
        len(thrown) as last_place
    from drawn
    where thrown is not null
),
total as (
    select
        purpose,
        policy,
        simulator,
        domain,
        role,
        count(thrown) as turns,
        count(*) filter (where attempts > len(coalesce(thrown, [])) + 1) as unknown
    from drawn
    group by purpose, policy, simulator, domain, role
)
select
    total.purpose,
    total.policy,
    total.simulator,
    total.domain,
    total.role,
    draw.flaw,
    count(*) filter (where draw.place = 0) as first_draws,
    round(count(*) filter (where draw.place = 0) / total.turns, 4) as first_share,
    count(*) as draws,
    count(*) filter (where draw.place = draw.last_place) as kept,
    total.turns,
    total.unknown
from total
join draw
    on draw.purpose = total.purpose
    and draw.policy is not distinct from total.policy
    and draw.simulator is not distinct from total.simulator
    and draw.domain is not distinct from total.domain
    and draw.role = total.role
group by
    total.purpose, total.policy, total.simulator, total.domain, total.role, draw.flaw, total.turns, total.unknown
order by
    total.purpose, total.policy, total.simulator, total.domain, total.role, first_draws desc, draws desc, draw.flaw
