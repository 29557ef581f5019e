-- One row per reviewer and judged pair of held-out dialogues of a cycle: which policy's dialogue the person preferred.
-- Answers: What did people judge?
select
    latest_judgement.domain,
    latest_judgement.scenario_id,
    latest_judgement.item_id,
    latest_judgement.reviewer,
    case
        when latest_judgement.preferred_id is null then latest_judgement.verdict
        when starts_with(preferred.policy, 'candidate') then 'candidate'
        else 'incumbent'
    end as verdict,
    preferred.policy as preferred_policy,
    candidate.policy as candidate_policy,
    latest_judgement.sample,
    latest_judgement.sample_size,
    latest_judgement.population,
    latest_judgement.judged_at,
    latest_judgement.seconds
from latest_judgement
left join trajectory as preferred on preferred.trajectory_id = latest_judgement.preferred_id
left join trajectory as candidate
    on candidate.trajectory_id in (latest_judgement.left_id, latest_judgement.right_id)
    and starts_with(candidate.policy, 'candidate')
where
    latest_judgement.kind = 'dialogue'
    and latest_judgement.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
order by latest_judgement.item_id, latest_judgement.reviewer
