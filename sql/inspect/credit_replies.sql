-- One row per reply whose noise the credit check measures, with the prefix before it: of $prefixes dialogue prefixes a domain (12 by
-- default), drawn by chance among those with two replies or more, up to four sibling replies each. `q_mean` is the reply's value
-- in the search; the search moved on through those `on_spine`. A larger $prefixes takes the same and more.
-- Internal
-- $prefixes: how many dialogue prefixes of a domain; 12 by default
with sibling as (
    select
        reply_value.cycle_id,
        reply_value.domain,
        reply_value.scenario_id,
        reply_value.tree_id,
        reply_value.decision_id,
        reply_value.spine_index,
        reply_value.reply_id,
        reply_value.group_count,
        reply_value.q_mean,
        count(*) over (partition by reply_value.tree_id, reply_value.decision_id) as siblings,
        row_number() over (
            partition by reply_value.tree_id, reply_value.decision_id
            order by md5(concat_ws('/', reply_value.tree_id, reply_value.reply_id))
        ) as place
    from reply_value
    where reply_value.cycle_id = coalesce($cycle::varchar, (select latest_cycle.cycle_id from latest_cycle))
),
reply as (
    select
        cycle_id,
        domain,
        scenario_id,
        tree_id,
        decision_id,
        spine_index,
        reply_id,
        group_count,
        q_mean,
        place,
        dense_rank() over (partition by domain order by md5(concat_ws('/', tree_id, decision_id))) as prefix_place
    from sibling
    where siblings >= 2 and place <= 4
)
select
    reply.domain,
    reply.scenario_id,
    reply.tree_id,
    reply.decision_id,
    reply.spine_index,
    reply.reply_id,
    scenario.opening,
    spine_prefix.turns,
    node.text as reply,
    reply.group_count,
    reply.q_mean,
    next_root.node_id is not null as on_spine
from reply
join scenario on scenario.scenario_id = reply.scenario_id
join spine_prefix
    on spine_prefix.cycle_id = reply.cycle_id
    and spine_prefix.tree_id = reply.tree_id
    and spine_prefix.node_id = reply.decision_id
join node on node.tree_id = reply.tree_id and node.node_id = reply.reply_id
left join node as next_root
    on next_root.tree_id = reply.tree_id
    and next_root.parent_id = reply.reply_id
    and next_root.spine_index is not null
where reply.prefix_place <= coalesce($prefixes::integer, 12)
order by reply.domain, reply.prefix_place, reply.place
