-- One row per searched scenario without an accepted pair, and why. `reason` is the check at which its furthest pair failed (see
-- sql/README.md), `no_evidence` if no two sibling replies could be compared, `not_scored` before `engage align`; `failed_at` counts
-- all its pairs by reason; gaps and P are the largest of those that failed at `reason`.
-- Answers: Which pairs are trained on, and why not the others?
with judged as (
    select
        tree_id,
        bool_or(accepted) as has_pair
    from pair
    where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by tree_id
),
counted as (
    select
        tree_id,
        drop_reason,
        list_position(
            [
                'not_train', 'min_groups', 'gap', 'confidence', 'empty', 'same_text', 'flawed', 'thought', 'role_leak',
                'deceptive', 'crisis', 'per_prefix', 'duplicate', 'harmful', 'nonsense'
            ],
            drop_reason
        ) as place,
        count(*) as pairs,
        max(q_gap) as widest_gap,
        max(abs(q_gap_raw)) as widest_raw_gap,
        max(p_greater) as highest_p
    from pair
    where cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle)) and drop_reason is not null
    group by tree_id, drop_reason
),
failed as (
    select
        tree_id,
        arg_max(drop_reason, coalesce(place, 0)) as reason,
        arg_max(widest_gap, coalesce(place, 0)) as widest_gap,
        arg_max(widest_raw_gap, coalesce(place, 0)) as widest_raw_gap,
        arg_max(highest_p, coalesce(place, 0)) as highest_p,
        sum(pairs)::bigint as pairs,
        string_agg(drop_reason || ' ' || pairs, ', ' order by pairs desc, drop_reason) as failed_at
    from counted
    group by tree_id
),
reply as (
    select
        node.tree_id,
        count(distinct root.node_id) as search_roots,
        count(node.node_id) as replies,
        count(reply_value.reply_id) as compared
    from tree
    join node as root on root.tree_id = tree.tree_id and root.spine_index is not null and root.kind = 'decision'
    join node on node.tree_id = root.tree_id and node.parent_id = root.node_id
    left join reply_value
        on reply_value.cycle_id = tree.cycle_id
        and reply_value.tree_id = node.tree_id
        and reply_value.reply_id = node.node_id
    where tree.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
    group by node.tree_id
),
explained as (
    select
        scenario.domain,
        tree.scenario_id,
        scenario.split,
        case
            when failed.reason is not null then failed.reason
            when
                coalesce(reply.compared, 0) < 2
                or exists (select 1 from judged)
                or tree.cycle_id in (select earlier_spread.cycle_id from earlier_spread)
                then 'no_evidence'
            else 'not_scored'
        end as reason,
        coalesce(failed.pairs, 0) as pairs,
        failed.failed_at,
        failed.widest_gap,
        failed.widest_raw_gap,
        failed.highest_p,
        coalesce(reply.search_roots, 0) as search_roots,
        coalesce(reply.replies, 0) as replies,
        coalesce(reply.compared, 0) as compared,
        tree.withdrawn,
        cycle.settings ->> '$.pairs.min_q_gap' as least_gap,
        cycle.settings ->> '$.pairs.confidence' as least_p
    from tree
    left join cycle on cycle.cycle_id = tree.cycle_id
    left join scenario on scenario.scenario_id = tree.scenario_id
    left join judged on judged.tree_id = tree.tree_id
    left join failed on failed.tree_id = tree.tree_id
    left join reply on reply.tree_id = tree.tree_id
    where
        tree.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
        and not coalesce(judged.has_pair, false)
)
select
    domain,
    scenario_id as scenario,
    reason,
    case reason
        when 'not_scored' then 'pairs are not judged yet: run engage align'
        when 'no_evidence' then 'of ' || replies || ' replies, ' || compared || ' have two sampled user turns with a reward; a pair needs two at one place'
        when 'not_train' then 'its split is ' || split || ': only train gives pairs'
        when 'min_groups' then 'too few sampled user turns behind a reply (pairs.min_groups)'
        when 'gap' then printf(
            'the widest gap of shrunk values is %.4f (of plain means: %.4f), below pairs.min_q_gap', widest_gap, widest_raw_gap
        ) || coalesce(' (the cycle began with ' || least_gap || ')', '')
        when 'confidence' then printf('P is at most %.3f where the gap suffices, below pairs.confidence', highest_p)
            || coalesce(' (the cycle began with ' || least_p || ')', '')
        when 'per_prefix' then 'better pairs at the same place were taken first'
        when 'duplicate' then 'another tree gave the same pair'
        when 'harmful' then 'most people who reviewed it called it harmful'
        when 'nonsense' then 'most people who reviewed it called it nonsense'
        else 'a reply was refused: ' || reason
    end as why,
    pairs,
    failed_at,
    round(widest_gap, 4) as widest_gap,
    round(widest_raw_gap, 4) as widest_raw_gap,
    round(highest_p, 3) as highest_p,
    search_roots,
    replies,
    compared,
    withdrawn
from explained
order by domain, reason, scenario
