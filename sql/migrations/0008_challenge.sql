-- Challenges, their dialogues and promotions are kept here, where until now runs in MLflow were counted.
create table if not exists challenge (
    number integer primary key,
    cycle_id varchar not null,
    policy varchar not null,
    adapter varchar,
    incumbent varchar not null,
    simulator varchar not null,
    ground varchar,
    scenarios varchar[],
    state varchar not null,
    reason varchar not null,
    passed boolean not null,
    began_at timestamp,
    changed_at timestamp
)
;
create table if not exists challenge_batch (
    number integer not null,
    seed bigint not null,
    cycle_id varchar not null,
    primary key (number, seed)
)
;
create table if not exists promotion (
    promoted_at timestamp not null,
    version varchar not null,
    adapter varchar not null,
    cycle_id varchar,
    challenge integer,
    promoted_by varchar not null,
    why varchar not null,
    replaced varchar
)
;
-- Each candidate that was judged with a held-out simulator counts as a challenge that began earlier; scripted ones do not.
insert into challenge (number, cycle_id, policy, incumbent, simulator, state, reason, passed)
with judged as (
    select
        evaluation.cycle_id,
        evaluation.policy,
        evaluation.simulator,
        min(evaluation.rowid) as place,
        min(coalesce('champion-' || left(cycle.config ->> 'champion_weights', 8), 'base')) as incumbent
    from evaluation
    join cycle on cycle.cycle_id = evaluation.cycle_id
    where
        evaluation.simulator like 'held-out %'
        and evaluation.policy like 'candidate-%'
        and coalesce(evaluation.split, 'validation') = 'validation'
        and coalesce(cycle.config ->> 'engine', '') <> 'scripted'
    group by evaluation.cycle_id, evaluation.policy, evaluation.simulator
)
select
    row_number() over (order by place),
    cycle_id,
    policy,
    incumbent,
    simulator,
    'earlier',
    'judged before challenges were recorded',
    false
from judged
where not exists (select 1 from challenge)
