-- One row per domain of cycle $cycle without a row in earlier_spread, and per earlier cycle that counts for it: the last seven with trees in
-- the domain, of the same prompts and survey, models, dialogue settings and method. The champion may have been another one.
with scored as (
    select distinct
        cycle.rowid as place,
        cycle.config,
        cycle.settings,
        scenario.domain
    from cycle
    join tree on tree.cycle_id = cycle.cycle_id
    join scenario on scenario.scenario_id = tree.scenario_id
    where
        cycle.cycle_id = $cycle
        and not exists (
            select 1 from earlier_spread
            where earlier_spread.cycle_id = cycle.cycle_id and earlier_spread.domain = scenario.domain
        )
),
searched as (
    select distinct
        tree.cycle_id,
        scenario.domain
    from tree
    join scenario on scenario.scenario_id = tree.scenario_id
)
select
    scored.domain,
    earlier.cycle_id,
    earlier.rowid as place
from scored
left join searched on searched.domain = scored.domain
left join cycle as earlier
    on earlier.cycle_id = searched.cycle_id
    and earlier.rowid < scored.place
    and same_ground(earlier.config, scored.config, scored.domain)
    and same_speakers(earlier.settings, scored.settings)
qualify row_number() over (partition by scored.domain order by earlier.rowid desc nulls last) <= 7
