-- Devices, their groups, how they enroll, and incidents that cut them off.

create table device_group (
  id           uuid primary key,
  name         text not null unique check (length(name) between 1 and 100),
  description  text not null default '',
  policy       jsonb not null default '{}',
  created_at   timestamptz not null
);

create table enrollment_profile (
  id                uuid primary key,
  -- Also the EST label and the Basic user name, hence its narrow form.
  name              text not null unique check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  group_id          uuid not null references device_group (id),
  auth_type         text not null check (auth_type in ('token', 'certificate')),
  registration      text not null check (registration in ('just-in-time', 'pre-registered')),
  id_pattern        text,
  quota             int check (quota >= 0),
  used              int not null default 0,
  valid_from        timestamptz,
  valid_until       timestamptz,
  key_policy        text[] not null,
  certificate_days  int not null check (certificate_days between 1 and 398),
  created_at        timestamptz not null,
  check (quota is null or used <= quota)
);

create table enrollment_token (
  id           uuid primary key,
  profile_id   uuid not null references enrollment_profile (id),
  secret_hash  bytea not null unique,
  max_uses     int check (max_uses >= 1),
  uses         int not null default 0,
  expires_at   timestamptz,
  created_by   text not null,
  created_at   timestamptz not null,
  check (max_uses is null or uses <= max_uses)
);

create table device (
  id                     uuid primary key,
  name                   text not null check (length(name) between 1 and 200),
  serial_number          text not null unique check (length(serial_number) between 1 and 64),
  state                  text not null check (state in ('registered', 'active', 'disabled', 'revoked', 'retired')),
  -- What the device says of itself in `hello`.
  model                  text,
  hardware_ids           text[] not null default '{}',
  agent                  text,
  attributes             jsonb not null default '{}',
  installed              jsonb not null default '[]',
  -- The owner's standing choice (updates.md §7.2).
  update_opt_out         boolean not null default false,
  managed                boolean not null default false,
  enrollment_profile_id  uuid references enrollment_profile (id),
  created_at             timestamptz not null,
  changed_at             timestamptz not null
);

create table device_group_member (
  group_id   uuid not null references device_group (id) on delete cascade,
  device_id  uuid not null references device (id) on delete cascade,
  primary key (group_id, device_id)
);
create index device_group_of on device_group_member (device_id);

-- Apart from `device` because it is written often, in groups, and by nobody but the broker.
create table device_presence (
  device_id      uuid primary key,
  node_id        uuid not null,
  -- Of the connection that wrote the row: a late disconnect of an older one does not clear a newer one.
  epoch          bigint not null,
  connected      boolean not null,
  last_seen_at   timestamptz not null
);

-- The processes that hold device connections. A row that is not renewed is a dead process: its devices are shown offline.
create table broker_node (
  id       uuid primary key,
  seen_at  timestamptz not null
);

create table incident (
  id          uuid primary key,
  group_id    uuid not null references device_group (id),
  reason      text not null,
  opened_by   text not null,
  opened_at   timestamptz not null,
  closed_by   text,
  closed_at   timestamptz
);
create unique index incident_open on incident (group_id) where closed_at is null;

-- What every process re-reads to learn that a device, a group or a certificate changed (architecture.md §6).
create table identity_change (
  seq        bigint generated always as identity primary key,
  device_id  uuid,
  group_id   uuid,
  at         timestamptz not null
);
