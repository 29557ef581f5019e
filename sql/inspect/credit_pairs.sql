-- One row per pair of sibling replies that the credit check re-rolls ($pairs of them, 100 by default), with the prefix before both:
-- taken in turn from ten bins of the stated p_greater (0.5 to 1), and there from the domains, so that none is left to chance.
-- `stratum_pairs` is how many pairs of the cycle stand in the same bin and domain. A larger $pairs takes the same pairs and more.
-- Internal
-- $pairs: how many pairs; 100 by default
with candidate as (
    select
        sibling_pair.cycle_id,
        sibling_pair.domain,
        sibling_pair.scenario_id,
        sibling_pair.tree_id,
        sibling_pair.decision_id,
        sibling_pair.spine_index,
        sibling_pair.chosen_id,
        sibling_pair.rejected_id,
        round(sibling_pair.q_gap, 12) as q_gap, -- sums of several threads differ in their last digits
        round(sibling_pair.p_greater, 12) as p_greater,
        least(floor((round(sibling_pair.p_greater, 12) - 0.5) * 20), 9)::integer as p_bin
    from sibling_pair
    where sibling_pair.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
),
stratified as (
    select
        cycle_id,
        domain,
        scenario_id,
        tree_id,
        decision_id,
        spine_index,
        chosen_id,
        rejected_id,
        q_gap,
        p_greater,
        p_bin,
        md5(concat_ws('/', tree_id, decision_id, chosen_id, rejected_id)) as chance,
        count(*) over (partition by domain, p_bin) as stratum_pairs,
        row_number() over (partition by domain, p_bin order by chance) as place_in_stratum
    from candidate
),
drawn as (
    select
        cycle_id,
        domain,
        scenario_id,
        tree_id,
        decision_id,
        spine_index,
        chosen_id,
        rejected_id,
        q_gap,
        p_greater,
        p_bin,
        stratum_pairs,
        row_number() over (partition by p_bin order by place_in_stratum, chance) as place
    from stratified
    order by place, p_bin
    limit coalesce($pairs::integer, 100)
)
select
    drawn.domain,
    drawn.scenario_id,
    drawn.tree_id,
    drawn.decision_id,
    drawn.spine_index,
    drawn.chosen_id,
    drawn.rejected_id,
    scenario.opening,
    spine_prefix.turns,
    chosen.text as chosen,
    rejected.text as rejected,
    drawn.q_gap,
    drawn.p_greater,
    drawn.p_bin,
    drawn.stratum_pairs
from drawn
join scenario on scenario.scenario_id = drawn.scenario_id
join spine_prefix
    on spine_prefix.cycle_id = drawn.cycle_id
    and spine_prefix.tree_id = drawn.tree_id
    and spine_prefix.node_id = drawn.decision_id
join node as chosen on chosen.tree_id = drawn.tree_id and chosen.node_id = drawn.chosen_id
join node as rejected on rejected.tree_id = drawn.tree_id and rejected.node_id = drawn.rejected_id
order by drawn.place, drawn.p_bin
