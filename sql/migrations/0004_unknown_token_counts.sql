-- A server may leave out how many tokens a request cost: an unknown count is null, not 0.
alter table engine_call alter column prompt_tokens drop not null;
alter table engine_call alter column cached_tokens drop not null;
alter table engine_call alter column completion_tokens drop not null
