-- What happens is told to others: events, written in the transaction of what they tell of, and the webhooks that want them.

create table webhook_endpoint (
  id               uuid primary key,
  url              text not null check (length(url) between 1 and 500),
  description      text not null check (length(description) <= 200),
  types            text[] not null check (cardinality(types) between 1 and 64),
  -- Events of devices that are members of all of these; none: everything.
  group_ids        uuid[] not null check (cardinality(group_ids) <= 20),
  state            text not null check (state in ('active', 'disabled')),
  disabled_because text check (disabled_because in ('operator', 'gone', 'failing')),
  -- Wrapped. During a rotation both sign.
  secret           bytea not null,
  previous_secret  bytea,
  previous_until   timestamptz,
  -- Nothing is sent before retry_at; one at a time until one was taken.
  failures         integer not null default 0,
  failing_since    timestamptz,
  retry_at         timestamptz,
  -- Events that found the backlog full, until its receiver was told.
  missed           bigint not null default 0,
  missed_from      timestamptz,
  missed_until     timestamptz,
  created_by       text not null,
  created_at       timestamptz not null,
  changed_at       timestamptz not null,
  check ((state = 'disabled') = (disabled_because is not null)),
  check ((previous_secret is null) = (previous_until is null))
);

create table outbox_event (
  seq          bigint generated always as identity primary key,
  id           uuid not null unique,
  at           timestamptz not null,
  type         text not null,
  device_id    uuid,
  subject      text not null,
  -- What is told in order: of a device, or of a subject.
  ordered_by   text not null,
  data         jsonb not null,
  -- For this one alone, whatever it wants.
  endpoint_id  uuid,
  relayed_at   timestamptz
);
create index outbox_event_waiting on outbox_event (seq) where relayed_at is null;
create index outbox_event_at on outbox_event (at);

create table webhook_delivery (
  id           uuid primary key,
  endpoint_id  uuid not null references webhook_endpoint (id) on delete cascade,
  event_id     uuid not null references outbox_event (id) on delete cascade,
  seq          bigint not null,
  ordered_by   text not null,
  state        text not null check (state in ('pending', 'delivered', 'dead')),
  attempts     integer not null default 0,
  due_at       timestamptz not null,
  last_status  integer,
  last_error   text check (length(last_error) <= 300),
  created_at   timestamptz not null,
  ended_at     timestamptz
);
-- Of each order the first that waits, and how many wait for an endpoint.
create index webhook_delivery_order on webhook_delivery (endpoint_id, ordered_by, seq) where state = 'pending';
create index webhook_delivery_due on webhook_delivery (endpoint_id, due_at) where state = 'pending';
create unique index webhook_delivery_event on webhook_delivery (event_id, endpoint_id);
create index webhook_delivery_listed on webhook_delivery (endpoint_id, seq);
create index webhook_delivery_dead on webhook_delivery (endpoint_id, seq) where state = 'dead';
