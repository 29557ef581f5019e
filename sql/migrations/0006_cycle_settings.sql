-- All settings of a cycle, so that its later stages need not be told them again.
alter table cycle add column if not exists settings json
