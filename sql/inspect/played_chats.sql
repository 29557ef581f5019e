-- One row per saved conversation of `engage chat` in which a person played the assistant.
-- Internal
select trajectory_id as id
from trajectory
where cycle_id = 'chat' and purpose = 'human' and policy = 'human'
order by trajectory_id
