-- The store notes which views and macros it holds, so that a changed one is replaced before anybody reads.
alter table schema_version add column definitions varchar
