-- Devices that poll by hawkBit's Direct Device Integration: which client a model uses, and what each device was shown.

create table ddi_product (
  model              text primary key references model (name),
  profile            text not null check (profile in ('swupdate', 'rauc', 'zephyr', 'generic')),
  component          text not null check (component ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
  -- The type of the one part of an update, as the client expects it.
  part               text not null check (length(part) between 1 and 64),
  -- The attribute in which the booted image says its version; without one, a claim after the boot has to do.
  version_attribute  text check (length(version_attribute) between 1 and 128),
  -- Seconds between two polls with nothing to do.
  poll_seconds       int not null check (poll_seconds between 30 and 86399),
  changed_at         timestamptz not null,
  check (version_attribute is not null or profile in ('swupdate', 'zephyr'))
);

-- Devices of this enrollment profile poll: what they are, since they say no hello.
create table ddi_line (
  enrollment_profile_id  uuid primary key references enrollment_profile (id) on delete cascade,
  model                  text not null references ddi_product (model),
  hardware_ids           text[] not null check (cardinality(hardware_ids) between 1 and 16),
  changed_at             timestamptz not null
);

create table ddi_device (
  device_id        uuid primary key references device (id) on delete cascade,
  -- What the device calls itself in the path; its id until somebody says otherwise.
  controller_id    text not null unique check (length(controller_id) between 1 and 256),
  wants_attributes boolean not null default true,
  created_at       timestamptz not null
);

create table ddi_action (
  device_id      uuid not null references ddi_device (device_id) on delete cascade,
  id             int not null check (id > 1000000000 and id <> 2000000000),
  deployment_id  uuid not null references deployment (id),
  created_at     timestamptz not null,
  started_at     timestamptz,
  -- Claimed success: a contact after this proves it or does not.
  claimed_at     timestamptz,
  closed_at      timestamptz,
  -- The last words of the device, newest first, and the hash of the last body: a repetition is no news.
  messages       jsonb not null default '[]',
  last_sha256    bytea,
  last_at        timestamptz,
  primary key (device_id, id)
);
create unique index ddi_action_open on ddi_action (device_id) where closed_at is null;
create index ddi_action_deployment on ddi_action (deployment_id);

-- Digests that clients ask for beside SHA-256; worked out once for each artifact that is offered.
create table ddi_digest (
  sha256  text primary key,
  sha1    text not null check (length(sha1) = 40),
  md5     text not null check (length(md5) = 32)
);
