-- One row per promotion: a version of the policy in MLflow's registry that became champion.
create table if not exists promotion (
    promoted_at timestamp not null, -- UTC
    version varchar not null, -- in the registry
    adapter varchar not null, -- folder of the weights
    cycle_id varchar, -- that judged it; null where it was never judged
    challenge integer, -- number of the challenge that it won; null where a person decided
    promoted_by varchar not null, -- the rule, or a person's account
    why varchar not null, -- the reason that was given
    replaced varchar -- version that was champion before; null where there was none
)
