-- Who may call, what they did, and what went wrong.

create table api_key (
  id            uuid primary key,
  name          text not null check (length(name) between 1 and 100),
  role          text not null check (role in ('admin', 'operator', 'viewer')),
  -- The first characters, to recognise a key in a list; the rest is known only as a hash.
  prefix        text not null,
  secret_hash   bytea not null unique,
  created_by    text not null,
  created_at    timestamptz not null,
  expires_at    timestamptz,
  last_used_at  timestamptz,
  revoked_at    timestamptz
);

-- Append-only: the trigger refuses update and delete, except that the sealing worker sets the three chain columns once.
create table audit_event (
  seq         bigint generated always as identity primary key,
  at          timestamptz not null,
  actor       text not null,
  action      text not null,
  subject     text not null,
  facts       jsonb not null,
  request_id  text,
  chain_no    bigint unique,
  prev_hash   bytea,
  hash        bytea
);
create index audit_unsealed on audit_event (seq) where chain_no is null;
create index audit_subject on audit_event (subject, seq);

create function audit_append_only() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and old.chain_no is null and new.chain_no is not null
     and (old.seq, old.at, old.actor, old.action, old.subject, old.facts) = (new.seq, new.at, new.actor, new.action, new.subject, new.facts)
     and old.request_id is not distinct from new.request_id then
    return new;
  end if;
  raise exception 'audit_event is append-only';
end $$;
create trigger audit_append_only before update or delete on audit_event
  for each row execute function audit_append_only();

create table security_event (
  id           uuid primary key,
  at           timestamptz not null,
  source       text not null check (source in ('server', 'device')),
  kind         text not null check (length(kind) between 1 and 64),
  severity     text not null check (severity in ('info', 'warning', 'critical')),
  device_id    uuid,
  facts        jsonb not null
);
create index security_event_device on security_event (device_id, id) where device_id is not null;

create table idempotency (
  actor         text not null,
  key           text not null,
  request_hash  bytea not null,
  resource_id   uuid not null,
  created_at    timestamptz not null,
  primary key (actor, key)
);
create index idempotency_age on idempotency (created_at);
