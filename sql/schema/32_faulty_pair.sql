-- One row per pair of a cycle that more than half of its reviewers called nonsense or harmful.
create or replace view faulty_pair as
select
    cycle_id,
    tree_id,
    least(try_cast(left_id as integer), try_cast(right_id as integer)) as first_id, -- the lower of the two replies' node_id
    greatest(try_cast(left_id as integer), try_cast(right_id as integer)) as second_id, -- the higher one
    case
        when count_if(verdict = 'harmful') >= count_if(verdict = 'nonsense') then 'harmful'
        else 'nonsense'
    end as fault -- what more of them called it: harmful or nonsense; harmful where as many did
from latest_judgement
where kind = 'pair'
group by cycle_id, tree_id, first_id, second_id
having 2 * count_if(verdict in ('harmful', 'nonsense')) > count(*)
