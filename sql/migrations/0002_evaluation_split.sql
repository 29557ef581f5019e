-- Figures note the split of their scenarios. Some files of version 1 have the column already: it was first added without a number.
alter table evaluation add column if not exists split varchar
