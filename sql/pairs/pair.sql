-- One row per pair of sibling replies of cycle $cycle, with the first reason against it, in this order: not_train, min_groups,
-- gap, confidence, empty, same_text, flawed, role_leak, deceptive, per_prefix, duplicate.
with candidate as (
    select
        sibling_pair.cycle_id,
        sibling_pair.scenario_id,
        sibling_pair.domain,
        sibling_pair.tree_id,
        sibling_pair.decision_id,
        sibling_pair.spine_index,
        sibling_pair.chosen_id,
        sibling_pair.rejected_id,
        sibling_pair.chosen_groups,
        sibling_pair.rejected_groups,
        sibling_pair.q_gap,
        sibling_pair.q_gap_raw,
        sibling_pair.p_greater,
        scenario.opening,
        lower(trim(chosen.text)) as chosen_text,
        lower(trim(rejected.text)) as rejected_text,
        case
            when scenario.split is distinct from 'train' then 'not_train'
            when least(sibling_pair.chosen_groups, sibling_pair.rejected_groups) < $min_groups then 'min_groups'
            when sibling_pair.q_gap < $min_q_gap or sibling_pair.q_gap <= 0 then 'gap'
            when sibling_pair.p_greater < $confidence then 'confidence'
            when not regexp_matches(chosen.text, '[\pL\pN]') or not regexp_matches(rejected.text, '[\pL\pN]')
                then 'empty'
            when lower(trim(chosen.text)) = lower(trim(rejected.text)) then 'same_text'
            when chosen.flaw is not null then 'flawed'
            when role_leak(chosen.text) or role_leak(rejected.text) then 'role_leak'
        end as drop_reason
    from sibling_pair
    join node as chosen on chosen.tree_id = sibling_pair.tree_id and chosen.node_id = sibling_pair.chosen_id
    join node as rejected on rejected.tree_id = sibling_pair.tree_id and rejected.node_id = sibling_pair.rejected_id
    left join scenario on scenario.scenario_id = sibling_pair.scenario_id
    where sibling_pair.cycle_id = $cycle
),
deceptive as (
    select distinct
        candidate.tree_id,
        candidate.chosen_id
    from candidate
    join deceptive_pattern on deceptive_pattern.domain = candidate.domain
    where candidate.drop_reason is null and regexp_matches(candidate.chosen_text, deceptive_pattern.pattern, 'i')
),
within_prefix as (
    select
        candidate.tree_id,
        candidate.chosen_id,
        candidate.rejected_id,
        candidate.domain,
        candidate.opening,
        candidate.chosen_text,
        candidate.rejected_text,
        candidate.p_greater,
        candidate.q_gap,
        spine_prefix.turns,
        row_number() over (
            partition by candidate.tree_id, candidate.decision_id
            order by candidate.p_greater desc, candidate.q_gap desc, candidate.chosen_id, candidate.rejected_id
        ) as place
    from candidate
    anti join deceptive on deceptive.tree_id = candidate.tree_id and deceptive.chosen_id = candidate.chosen_id
    join spine_prefix on spine_prefix.tree_id = candidate.tree_id and spine_prefix.node_id = candidate.decision_id
    where candidate.drop_reason is null and spine_prefix.cycle_id = $cycle
),
-- one row per pair that is kept, and per equal pair of another tree, ranked
kept as (
    select
        tree_id,
        chosen_id,
        rejected_id,
        row_number() over (
            partition by domain, opening, turns, chosen_text, rejected_text
            order by p_greater desc, q_gap desc, tree_id
        ) as copy
    from within_prefix
    where place <= $max_pairs_per_prefix
)
select
    candidate.cycle_id,
    candidate.scenario_id,
    candidate.domain,
    candidate.tree_id,
    candidate.decision_id,
    candidate.spine_index,
    candidate.chosen_id,
    candidate.rejected_id,
    candidate.chosen_groups,
    candidate.rejected_groups,
    candidate.q_gap,
    candidate.q_gap_raw,
    candidate.p_greater,
    candidate.drop_reason is null and coalesce(kept.copy = 1, false) as accepted,
    case
        when candidate.drop_reason is not null then candidate.drop_reason
        when deceptive.chosen_id is not null then 'deceptive'
        when kept.copy is null then 'per_prefix'
        when kept.copy > 1 then 'duplicate'
    end as drop_reason
from candidate
left join deceptive on deceptive.tree_id = candidate.tree_id and deceptive.chosen_id = candidate.chosen_id
left join kept
    on kept.tree_id = candidate.tree_id
    and kept.chosen_id = candidate.chosen_id
    and kept.rejected_id = candidate.rejected_id
