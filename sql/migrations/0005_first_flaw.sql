-- What was wrong with a turn's first draw, so that the share of flawed first draws is known however often they were drawn again.
alter table node add column if not exists first_flaw varchar;
alter table turn add column if not exists first_flaw varchar
