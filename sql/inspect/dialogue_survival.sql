-- One row per purpose, policy, simulator, domain, exchange and reason: the dialogues that ended there. `reached` dialogues came so far;
-- `share` of them ended there for that reason.
-- Answers: Where do dialogues end?
with ended as (
    select
        purpose,
        policy,
        simulator,
        domain,
        exchanges,
        end_reason,
        count(*) as dialogues,
        avg(reward) as reward
    from outcome
    where
        purpose in ('search', 'evaluation')
        and cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by purpose, policy, simulator, domain, exchanges, end_reason
),
counted as (
    select
        purpose,
        policy,
        simulator,
        domain,
        exchanges,
        end_reason,
        dialogues,
        reward,
        sum(dialogues) over (
            partition by purpose, policy, simulator, domain
            order by exchanges desc
            range between unbounded preceding and current row
        )::bigint as reached
    from ended
)
select
    purpose,
    policy,
    simulator,
    domain,
    exchanges as exchange,
    end_reason,
    dialogues,
    reached,
    round(dialogues / reached, 4) as share,
    round(reward, 3) as reward
from counted
order by purpose, policy, simulator, domain, exchange, dialogues desc, end_reason
