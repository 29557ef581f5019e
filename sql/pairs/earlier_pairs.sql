-- One row per domain with accepted pairs, of the last $count cycles with trees before cycle $cycle: whether the pairs may be trained on
-- together with that cycle's, whether they were judged under the present reward, and the version that was champion when they were searched (null: none).
with this as (
    select
        cycle.rowid as place,
        cycle.config,
        cycle.settings
    from cycle
    where cycle.cycle_id = $cycle
),
searched as (
    select
        cycle.cycle_id,
        cycle.config,
        cycle.settings,
        cycle.rowid as place
    from cycle
    where
        cycle.rowid < (select this.place from this)
        and exists (select 1 from tree where tree.cycle_id = cycle.cycle_id)
    order by cycle.rowid desc
    limit $count
)
select distinct
    searched.place,
    searched.cycle_id,
    pair.domain,
    searched.config ->> 'champion_version' as policy,
    same_ground(searched.config, this.config, pair.domain) and same_speakers(searched.settings, this.settings) as is_same,
    exists (
        select 1 from earlier_spread -- a changed reward deletes the row, and a new score of the cycle brings it back
        where earlier_spread.cycle_id = searched.cycle_id and earlier_spread.domain = pair.domain
    ) as is_current
from searched
cross join this
join pair on pair.cycle_id = searched.cycle_id and pair.accepted
order by searched.place desc, pair.domain
