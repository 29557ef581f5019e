-- Which scenarios a figure was measured on, validation or test; null in files written before it was noted.
alter table evaluation add column if not exists split varchar
