-- One row per role and flaw of the turns a model said: how many were kept with it. `redrawn` counts the turns drawn more than
-- once, whatever was kept; flaw is empty for clean turns.
-- Answers: What went wrong?
select
    role,
    flaw,
    count(*) as turns,
    round(count(*) / sum(count(*)) over (partition by role), 4) as share,
    count(*) filter (where attempts > 1) as redrawn,
    sum(attempts)::bigint as draws
from sampled_turn
where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
group by role, flaw
order by role, turns desc, flaw
