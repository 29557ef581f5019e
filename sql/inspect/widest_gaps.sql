-- One row per simulated dialogue below either reply of the pairs with the widest value gap: the prefix, the reply, how the dialogue went
-- on and its reward. `side` says which reply it is; `fate` is accepted, or the first reason against the pair (empty before `engage
-- align`).
-- Answers: Which pairs are trained on, and why not the others?
-- $pairs: how many pairs; 5 by default
with widest as (
    select
        row_number() over (order by q_gap desc, p_greater desc, tree_id, chosen_id, rejected_id) as place,
        domain,
        scenario_id,
        tree_id,
        decision_id,
        spine_index,
        chosen_id,
        rejected_id,
        q_gap,
        p_greater
    from sibling_pair
    where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    order by place
    limit coalesce($pairs::integer, 5)
),
side as (
    select
        place,
        tree_id,
        'chosen' as side,
        chosen_id as reply_id
    from widest
    union all
    select
        place,
        tree_id,
        'rejected',
        rejected_id
    from widest
),
future as (
    select
        side.place,
        side.side,
        node.text as reply,
        outcome.trajectory_id,
        outcome.simulation,
        outcome.reward,
        outcome.opening_turns + node.depth - 1 as reply_index
    from side
    join node on node.tree_id = side.tree_id and node.node_id = side.reply_id
    join visit on visit.tree_id = side.tree_id and visit.node_id = side.reply_id
    join outcome
        on outcome.tree_id = visit.tree_id
        and outcome.simulation = visit.simulation
        and outcome.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
),
told as (
    select
        future.place,
        future.side,
        future.reply,
        future.trajectory_id,
        future.simulation,
        future.reward,
        string_agg(turn.role || ': ' || turn.text, chr(10) order by turn.turn_index)
        filter (where turn.turn_index < future.reply_index) as prefix,
        string_agg(turn.role || ': ' || turn.text, chr(10) order by turn.turn_index)
        filter (where turn.turn_index > future.reply_index) as future
    from future
    join turn on turn.trajectory_id = future.trajectory_id
    group by
        future.place, future.side, future.reply, future.trajectory_id, future.simulation, future.reward
)
select
    widest.place,
    widest.domain,
    widest.scenario_id as scenario,
    widest.spine_index as exchange,
    round(widest.q_gap, 4) as q_gap,
    round(widest.p_greater, 4) as p_greater,
    case when pair.accepted then 'accepted' else pair.drop_reason end as fate,
    told.prefix,
    told.side,
    told.reply,
    told.future,
    round(told.reward, 3) as reward,
    told.trajectory_id as id
from widest
join told on told.place = widest.place
left join pair
    on pair.tree_id = widest.tree_id
    and least(pair.chosen_id, pair.rejected_id) = least(widest.chosen_id, widest.rejected_id)
    and greatest(pair.chosen_id, pair.rejected_id) = greatest(widest.chosen_id, widest.rejected_id)
order by widest.place, told.side, told.simulation
