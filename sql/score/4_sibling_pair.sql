-- One row per two sibling replies with a value, the better one as chosen (the earlier one where both are equal: no such pair is accepted).
with reply as (
    select
        cycle_id,
        scenario_id,
        domain,
        tree_id,
        decision_id,
        spine_index,
        reply_id,
        group_count,
        q_mean,
        value_mean,
        value_variance,
        shared_error
    from reply_value
)
select
    chosen.cycle_id,
    chosen.scenario_id,
    chosen.domain,
    chosen.tree_id,
    chosen.decision_id,
    chosen.spine_index, -- exchanges held before both replies
    chosen.reply_id as chosen_id,
    rejected.reply_id as rejected_id,
    chosen.group_count as chosen_groups,
    rejected.group_count as rejected_groups,
    round(chosen.value_mean - rejected.value_mean, 9) as q_gap,
    round(chosen.q_mean - rejected.q_mean, 9) as q_gap_raw,
    round(p_greater(chosen, rejected), 9) as p_greater
from reply as chosen
join reply as rejected
    on rejected.cycle_id = chosen.cycle_id
    and rejected.tree_id = chosen.tree_id
    and rejected.decision_id = chosen.decision_id
    and (
        chosen.value_mean > rejected.value_mean
        or (chosen.value_mean = rejected.value_mean and chosen.reply_id < rejected.reply_id)
    )
