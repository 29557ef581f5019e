-- When a tree, a dialogue and a figure reached the database and a pair was judged, and why each thrown-away draw of a turn was.
alter table tree add column if not exists stored_at timestamp;
alter table trajectory add column if not exists stored_at timestamp;
alter table pair add column if not exists scored_at timestamp;
alter table evaluation add column if not exists stored_at timestamp;
alter table node add column if not exists redrawn varchar[];
alter table turn add column if not exists redrawn varchar[]
