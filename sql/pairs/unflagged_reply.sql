-- One row per domain and text of a chosen reply that no rule for deception matches; the deception check reads them
-- (engage/domains/rules/deception_check.py).
select distinct
    chosen.domain,
    chosen.text
from candidate_pair as pair
join candidate_reply as chosen on chosen.tree_id = pair.tree_id and chosen.reply_id = pair.chosen_id
left join deceptive_reply as deceptive on deceptive.tree_id = pair.tree_id and deceptive.reply_id = pair.chosen_id
where pair.drop_reason is null and deceptive.reply_id is null
order by chosen.domain, chosen.text
