-- Now, as the timestamps of these tables are kept: UTC, without a zone. One and the same moment within a transaction.
create or replace macro utc_now() as now() at time zone 'UTC'
