-- Changes of identity in the order of their transactions, and certificates that nobody renews.

-- Sequence numbers commit out of order. Below the oldest transaction that still runs nothing is added any more, so that a reader who
-- remembers that one never has to look back (pg_snapshot_xmin).
alter table identity_change add column xid xid8 not null default pg_current_xact_id();
create index identity_change_order on identity_change (xid, seq);

-- Of which certificates it was said that they come to their end without a successor, and how urgently.
create table certificate_expiry_notice (
  certificate_id  uuid primary key references certificate (id) on delete cascade,
  stage           text not null check (stage in ('warning', 'critical')),
  told_at         timestamptz not null
);
