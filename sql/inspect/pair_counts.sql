-- One row per domain and fate of a pair: accepted, or the first reason against it.
-- Answers: Which pairs are trained on, and why not the others?
select
    domain,
    coalesce(drop_reason, 'accepted') as fate,
    count(*) as pairs,
    round(avg(q_gap), 4) as q_gap_mean,
    round(avg(p_greater), 3) as p_greater_mean
from pair
where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
group by domain, fate
order by domain, pairs desc, fate
