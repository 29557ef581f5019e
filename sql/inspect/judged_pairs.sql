-- One row per reviewer and judged pair of a cycle: which reply the person preferred, beside what the search states.
-- Answers: What did people judge?
select
    latest_judgement.domain,
    latest_judgement.scenario_id,
    latest_judgement.tree_id,
    pair.chosen_id,
    pair.rejected_id,
    latest_judgement.item_id,
    latest_judgement.reviewer,
    case
        when latest_judgement.preferred_id is null then latest_judgement.verdict
        when try_cast(latest_judgement.preferred_id as integer) = pair.chosen_id then 'chosen'
        else 'rejected'
    end as verdict,
    round(pair.p_greater, 4) as p_greater,
    round(pair.q_gap, 4) as q_gap,
    coalesce(pair.drop_reason, 'accepted') as fate,
    latest_judgement.sample,
    latest_judgement.sample_size,
    latest_judgement.population,
    latest_judgement.judged_at,
    latest_judgement.seconds
from latest_judgement
join pair
    on pair.cycle_id = latest_judgement.cycle_id
    and pair.tree_id = latest_judgement.tree_id
    and least(pair.chosen_id, pair.rejected_id)
    = least(try_cast(latest_judgement.left_id as integer), try_cast(latest_judgement.right_id as integer))
    and greatest(pair.chosen_id, pair.rejected_id)
    = greatest(try_cast(latest_judgement.left_id as integer), try_cast(latest_judgement.right_id as integer))
where
    latest_judgement.kind = 'pair'
    and latest_judgement.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
order by latest_judgement.item_id, latest_judgement.reviewer
