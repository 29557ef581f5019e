-- One row per reviewer and item: the judgement that counts. An earlier one of the same reviewer and what was taken back are left out.
create or replace view latest_judgement as
select
    judgement.judgement_id,
    judgement.cycle_id,
    judgement.kind,
    judgement.item_id,
    judgement.scenario_id,
    scenario.domain, -- kind of conversation; null where the scenario is not stored
    judgement.tree_id,
    judgement.left_id,
    judgement.right_id,
    judgement.verdict, -- left, right, equal, nonsense or harmful
    case judgement.verdict
        when 'left' then judgement.left_id
        when 'right' then judgement.right_id
    end as preferred_id, -- left_id or right_id; null where neither was preferred
    judgement.reviewer,
    judgement.judged_at,
    judgement.seconds,
    judgement.sample,
    judgement.sample_size,
    judgement.sample_seed,
    judgement.population,
    judgement.stored_at
from judgement
left join scenario on scenario.scenario_id = judgement.scenario_id
qualify
    row_number() over (
        partition by judgement.reviewer, judgement.item_id
        order by judgement.judged_at desc, judgement.judgement_id
    ) = 1
    and judgement.verdict <> 'withdrawn'
