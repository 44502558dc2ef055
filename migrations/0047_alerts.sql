-- Alerts: what security events are worth a person's attention, and whom it is told to.

-- Looked at by the rules. What is there already is not looked at.
alter table security_event add column judged boolean not null default true;
alter table security_event alter column judged set default false;
create index security_event_unjudged on security_event (id) where not judged;
create index security_event_kind on security_event (kind, id);

create table alert_channel (
  id           uuid primary key,
  name         text not null unique check (length(name) between 1 and 100),
  kind         text not null check (kind in ('webhook', 'email')),
  endpoint_id  uuid references webhook_endpoint (id) on delete cascade,
  recipients   text[] check (cardinality(recipients) between 1 and 20),
  -- Alerts of which no mail was written since there were too many of them, until the next mail says so.
  held         integer not null default 0,
  created_by   text not null,
  created_at   timestamptz not null,
  check ((kind = 'webhook') = (endpoint_id is not null)),
  check ((kind = 'email') = (recipients is not null))
);

create table alert_rule (
  id              uuid primary key,
  name            text not null unique check (length(name) between 1 and 100),
  -- A kind, or the beginning of some and a star.
  kinds           text not null check (length(kinds) between 1 and 65),
  source          text not null check (source in ('server', 'device', 'any')),
  min_severity    text not null check (min_severity in ('info', 'warning', 'critical')),
  -- Events of devices that are members of all of these; none: everything.
  group_ids       uuid[] not null check (cardinality(group_ids) <= 20),
  threshold       integer not null check (threshold between 1 and 1000),
  window_seconds  integer not null check (window_seconds between 60 and 604800),
  -- An alert that goes on is told again after this time, not before.
  quiet_seconds   integer not null check (quiet_seconds between 60 and 604800),
  each            text not null check (each in ('kind', 'device')),
  channel_ids     uuid[] not null check (cardinality(channel_ids) <= 20),
  enabled         boolean not null,
  created_by      text not null,
  created_at      timestamptz not null,
  changed_at      timestamptz not null
);

create table alert (
  id              uuid primary key,
  rule_id         uuid not null references alert_rule (id) on delete cascade,
  key             text not null,
  kind            text not null,
  severity        text not null check (severity in ('info', 'warning', 'critical')),
  device_id       uuid,
  state           text not null check (state in ('open', 'acknowledged', 'resolved')),
  count           bigint not null,
  first_at        timestamptz not null,
  last_at         timestamptz not null,
  told_at         timestamptz,
  note            text check (length(note) <= 500),
  acknowledged_by text,
  acknowledged_at timestamptz,
  resolved_by     text,
  resolved_at     timestamptz
);
create unique index alert_unresolved on alert (rule_id, key) where state <> 'resolved';
create index alert_resolved_at on alert (resolved_at) where state = 'resolved';

create table alert_mail (
  id          uuid primary key,
  channel_id  uuid not null references alert_channel (id) on delete cascade,
  alert_id    uuid references alert (id) on delete cascade,
  recipients  text[] not null,
  subject     text not null check (length(subject) <= 200),
  body        text not null check (length(body) <= 10000),
  state       text not null check (state in ('pending', 'delivered', 'dead')),
  attempts    integer not null default 0,
  due_at      timestamptz not null,
  last_error  text check (length(last_error) <= 300),
  created_at  timestamptz not null,
  ended_at    timestamptz
);
create index alert_mail_due on alert_mail (due_at) where state = 'pending';
create index alert_mail_channel on alert_mail (channel_id, created_at);
create index alert_mail_created on alert_mail (created_at);

-- Nobody has to think of these. Without a channel they show in the list.
insert into alert_rule (id, name, kinds, source, min_severity, group_ids, threshold, window_seconds, quiet_seconds, each, channel_ids, enabled, created_by, created_at, changed_at)
values
  ('01900000-0000-7000-8000-000000000001', 'Critical events of the server', '*', 'server', 'critical', '{}', 1, 3600, 14400, 'kind', '{}', true, 'system', now(), now()),
  ('01900000-0000-7000-8000-000000000002', 'Guessing of tokens', 'enrollment-refused', 'server', 'info', '{}', 50, 600, 14400, 'kind', '{}', true, 'system', now(), now()),
  ('01900000-0000-7000-8000-000000000003', 'Guessing of API keys', 'api-key-refused', 'server', 'info', '{}', 20, 600, 14400, 'kind', '{}', true, 'system', now(), now()),
  ('01900000-0000-7000-8000-000000000004', 'Devices whose reports are not proven', 'report-proof-invalid', 'server', 'info', '{}', 3, 3600, 86400, 'device', '{}', true, 'system', now(), now());

-- The owner switched logging and monitoring off: nothing that the device says happened to it is stored (docs/owners-choice.md).
alter table device add column monitoring_off boolean not null default false;
