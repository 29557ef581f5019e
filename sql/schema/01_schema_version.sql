-- One row: the version of these tables; engage refuses a file of another version.
create table if not exists schema_version (
    version integer not null
)
