-- One row per pair of candidate_pair, with the first reason against it: those of candidate_pair, then in this order empty,
-- same_text, flawed, thought, role_leak, deceptive, crisis, per_prefix, duplicate, harmful, nonsense. The last two are what people
-- judged (more than half of the pair's reviewers); being last, they leave the pairs among which reviews are sampled as they were.
-- Every pair has both its replies; left joins keep the planner from joining the replies of a tree with each other first.
with spoken as (
    select
        pair.cycle_id,
        pair.scenario_id,
        pair.domain,
        pair.tree_id,
        pair.decision_id,
        pair.spine_index,
        pair.chosen_id,
        pair.rejected_id,
        pair.chosen_groups,
        pair.rejected_groups,
        pair.q_gap,
        pair.q_gap_raw,
        pair.p_greater,
        chosen.text as chosen_text,
        rejected.text as rejected_text,
        case
            when chosen.is_empty or rejected.is_empty then 'empty'
            when chosen.text = rejected.text then 'same_text'
            when chosen.is_flawed then 'flawed'
            when chosen.has_thought or rejected.has_thought then 'thought'
            when chosen.leaks_role or rejected.leaks_role then 'role_leak'
            when deceptive.reply_id is not null then 'deceptive'
            when chosen.led_to_crisis then 'crisis'
        end as drop_reason
    from candidate_pair as pair
    left join candidate_reply as chosen on chosen.tree_id = pair.tree_id and chosen.reply_id = pair.chosen_id
    left join candidate_reply as rejected on rejected.tree_id = pair.tree_id and rejected.reply_id = pair.rejected_id
    left join deceptive_reply as deceptive on deceptive.tree_id = pair.tree_id and deceptive.reply_id = pair.chosen_id
    where pair.drop_reason is null
),
ranked as (
    select
        tree_id,
        decision_id,
        chosen_id,
        rejected_id,
        domain,
        scenario_id,
        chosen_text,
        rejected_text,
        p_greater,
        q_gap
    from spoken
    where drop_reason is null
    qualify row_number() over (
        partition by tree_id, decision_id
        order by p_greater desc, q_gap desc, chosen_text, rejected_text, chosen_id, rejected_id
    ) <= $max_pairs_per_prefix
),
-- one row per pair that is kept, and per equal pair of another tree, ranked
kept as (
    select
        ranked.tree_id,
        ranked.chosen_id,
        ranked.rejected_id,
        row_number() over (
            partition by ranked.domain, scenario.opening, spine_prefix.turns, ranked.chosen_text, ranked.rejected_text
            order by ranked.p_greater desc, ranked.q_gap desc, ranked.tree_id, ranked.chosen_id, ranked.rejected_id
        ) as copy
    from ranked
    join scenario on scenario.scenario_id = ranked.scenario_id
    join spine_prefix on spine_prefix.tree_id = ranked.tree_id and spine_prefix.node_id = ranked.decision_id
    where spine_prefix.cycle_id = $cycle
),
faulty as (
    select
        tree_id,
        first_id,
        second_id,
        fault as drop_reason
    from faulty_pair
    where cycle_id = $cycle
)
select
    cycle_id,
    scenario_id,
    domain,
    tree_id,
    decision_id,
    spine_index,
    chosen_id,
    rejected_id,
    chosen_groups,
    rejected_groups,
    q_gap,
    q_gap_raw,
    p_greater,
    false as accepted,
    drop_reason,
    utc_now() as scored_at
from candidate_pair
where drop_reason is not null
union all
select
    spoken.cycle_id,
    spoken.scenario_id,
    spoken.domain,
    spoken.tree_id,
    spoken.decision_id,
    spoken.spine_index,
    spoken.chosen_id,
    spoken.rejected_id,
    spoken.chosen_groups,
    spoken.rejected_groups,
    spoken.q_gap,
    spoken.q_gap_raw,
    spoken.p_greater,
    spoken.drop_reason is null and coalesce(kept.copy = 1, false) and faulty.drop_reason is null as accepted,
    case
        when spoken.drop_reason is not null then spoken.drop_reason
        when kept.copy is null then 'per_prefix'
        when kept.copy > 1 then 'duplicate'
        else faulty.drop_reason
    end as drop_reason,
    utc_now() as scored_at
from spoken
left join kept
    on kept.tree_id = spoken.tree_id
    and kept.chosen_id = spoken.chosen_id
    and kept.rejected_id = spoken.rejected_id
left join faulty
    on faulty.tree_id = spoken.tree_id
    and faulty.first_id = least(spoken.chosen_id, spoken.rejected_id)
    and faulty.second_id = greatest(spoken.chosen_id, spoken.rejected_id)
