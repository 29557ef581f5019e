-- One row per judgement of incoming_judgement that is not stored yet.
select
    incoming_judgement.judgement_id,
    incoming_judgement.cycle_id,
    incoming_judgement.kind,
    incoming_judgement.item_id,
    incoming_judgement.scenario_id,
    incoming_judgement.tree_id,
    incoming_judgement.left_id,
    incoming_judgement.right_id,
    incoming_judgement.verdict,
    incoming_judgement.reviewer,
    incoming_judgement.judged_at,
    incoming_judgement.seconds,
    incoming_judgement.sample,
    incoming_judgement.sample_size,
    incoming_judgement.sample_seed,
    incoming_judgement.population,
    utc_now() as stored_at
from incoming_judgement
anti join judgement on judgement.judgement_id = incoming_judgement.judgement_id
qualify row_number() over (partition by incoming_judgement.judgement_id) = 1
