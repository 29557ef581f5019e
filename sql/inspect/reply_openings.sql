-- One row per domain and opening of a reply, the most successful first: how often the reply beat a sibling that opens differently.
-- `win_share` counts two draws in advance, so that one win is not 100 %; `advantage` is the mean gap to the sibling's
-- plain mean, in reward.
-- Answers: Which replies are better, and how sure is that?
-- $words: words of an opening; 3 by default
-- $replies: an opening with fewer replies is left out; 2 by default
with reply as (
    select
        reply_value.domain,
        reply_value.scenario_id,
        reply_value.tree_id,
        reply_value.reply_id,
        reply_value.value_mean,
        node.text,
        array_to_string(
            regexp_extract_all(lower(node.text), '[\pL\pN$]+(?:[''’][\pL\pN]+)*')[1:coalesce($words::integer, 3)], ' '
        ) as opening
    from reply_value
    join node on node.tree_id = reply_value.tree_id and node.node_id = reply_value.reply_id
    where reply_value.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
),
result as (
    select
        tree_id,
        chosen_id as reply_id,
        rejected_id as sibling_id,
        q_gap_raw as gap
    from sibling_pair
    where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle)) and q_gap_raw <> 0
    union all
    select
        tree_id,
        rejected_id,
        chosen_id,
        -q_gap_raw
    from sibling_pair
    where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle)) and q_gap_raw <> 0
),
compared as (
    select
        reply.domain,
        reply.opening,
        count(*) as comparisons,
        count(*) filter (where result.gap > 0) as won,
        avg(result.gap) as advantage
    from reply
    join result on result.tree_id = reply.tree_id and result.reply_id = reply.reply_id
    join reply as sibling on sibling.tree_id = result.tree_id and sibling.reply_id = result.sibling_id
    where sibling.opening <> reply.opening
    group by reply.domain, reply.opening
),
opening as (
    select
        domain,
        opening,
        count(*) as replies,
        count(distinct scenario_id) as scenarios,
        arg_max(text, value_mean) as best_example
    from reply
    group by domain, opening
)
select
    opening.domain,
    opening.opening,
    opening.replies,
    opening.scenarios,
    compared.comparisons,
    compared.won,
    round((compared.won + 1) / (compared.comparisons + 2), 3) as win_share,
    round(compared.advantage, 4) as advantage,
    opening.best_example
from opening
join compared on compared.domain is not distinct from opening.domain and compared.opening = opening.opening
where opening.replies >= coalesce($replies::integer, 2)
order by opening.domain, (compared.won + 1) / (compared.comparisons + 2) desc, compared.advantage desc, opening.opening
