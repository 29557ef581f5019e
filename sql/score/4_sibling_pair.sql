-- One row per two sibling replies with a value, the better one as chosen (the earlier one where both are equal).
with siblings as (
    select
        cycle_id,
        scenario_id,
        domain,
        tree_id,
        decision_id,
        spine_index,
        list(
            {
                'reply_id': reply_id,
                'group_count': group_count,
                'q_mean': q_mean,
                'value_mean': value_mean,
                'value_variance': value_variance,
                'shared_error': shared_error
            }
            order by value_mean desc, reply_id
        ) as replies
    from reply_value
    group by cycle_id, scenario_id, domain, tree_id, decision_id, spine_index
),
chosen_first as (
    select
        cycle_id,
        scenario_id,
        domain,
        tree_id,
        decision_id,
        spine_index,
        unnest(replies) as chosen,
        unnest([replies[place + 1:] for place in range(1, len(replies) + 1)]) as worse
    from siblings
),
paired as (
    select
        cycle_id,
        scenario_id,
        domain,
        tree_id,
        decision_id,
        spine_index,
        chosen,
        unnest(worse) as rejected
    from chosen_first
)
select
    cycle_id,
    scenario_id,
    domain,
    tree_id,
    decision_id,
    spine_index,
    chosen.reply_id as chosen_id,
    rejected.reply_id as rejected_id,
    chosen.group_count as chosen_groups,
    rejected.group_count as rejected_groups,
    chosen.value_mean - rejected.value_mean as q_gap,
    chosen.q_mean - rejected.q_mean as q_gap_raw,
    p_greater(chosen, rejected) as p_greater
from paired
