-- Whether a reward is one: itself where it is, null where it is not. DuckDB takes NaN for larger than any number.
create or replace macro known_reward(reward) as case when reward between 0 and 1 then reward end
