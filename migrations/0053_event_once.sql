-- What a device reports may come twice at the same moment, on two connections to two processes: only the database can tell.
-- Rows from before have no hash; nobody sends those again.
alter table security_event add column reported_hash uuid;
create unique index security_event_once on security_event (device_id, reported_hash)
  where reported_hash is not null;
