-- One row per domain of a cycle: how many pairs could be made, and how well the search could tell their replies apart (medians of the value
-- gap and of the gap's standard error, in reward); the least gap and P of what was accepted, the most of what was dropped for them, as
-- they were when the pairs were judged.
-- Internal
with judged as (
    select
        sibling_pair.domain,
        sibling_pair.q_gap,
        pair.q_gap as judged_gap,
        pair.p_greater as judged_p,
        pair.drop_reason,
        sqrt(
            chosen.value_variance + rejected.value_variance - 2 * chosen.shared_error * rejected.shared_error
        ) as gap_error,
        coalesce(pair.accepted, false) as accepted
    from sibling_pair
    join reply_value as chosen
        on chosen.cycle_id = sibling_pair.cycle_id
        and chosen.tree_id = sibling_pair.tree_id
        and chosen.reply_id = sibling_pair.chosen_id
    join reply_value as rejected
        on rejected.cycle_id = sibling_pair.cycle_id
        and rejected.tree_id = sibling_pair.tree_id
        and rejected.reply_id = sibling_pair.rejected_id
    left join pair
        on pair.cycle_id = sibling_pair.cycle_id
        and pair.tree_id = sibling_pair.tree_id
        and least(pair.chosen_id, pair.rejected_id) = least(sibling_pair.chosen_id, sibling_pair.rejected_id)
        and greatest(pair.chosen_id, pair.rejected_id) = greatest(sibling_pair.chosen_id, sibling_pair.rejected_id)
    where sibling_pair.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
)
select
    domain,
    count(*) as candidates,
    count(*) filter (where accepted) as accepted,
    median(q_gap) as q_gap_median,
    round(median(gap_error), 9) as gap_error_median,
    min(judged_gap) filter (where accepted) as accepted_gap_min,
    max(judged_gap) filter (where drop_reason = 'gap') as dropped_gap_max,
    min(judged_p) filter (where accepted) as accepted_p_min,
    max(judged_p) filter (where drop_reason = 'confidence') as dropped_p_max
from judged
group by domain
order by domain
