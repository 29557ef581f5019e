-- One row: the version of these tables, the number of the last file of sql/migrations/. An older file is brought up to it, a newer one refused.
create table if not exists schema_version (
    version integer not null, -- number of the newest migration that this file has had
    definitions varchar -- SHA-256 of the statements of sql/schema/ and sql/score/ that made its views and macros; null before version 3
)
