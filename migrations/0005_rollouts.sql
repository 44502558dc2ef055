-- To whom, how fast; and what became of each device that was met.

create table rollout (
  id           uuid primary key,
  name         text not null check (length(name) between 1 and 200),
  release_id   uuid not null references release (id),
  group_id     uuid not null references device_group (id),
  -- Decides each device's bucket (rollouts.md §2); new for every rollout, so that no device is always first.
  seed         bytea not null check (length(seed) = 16),
  state        text not null default 'draft'
    check (state in ('draft', 'approved', 'running', 'paused', 'completed', 'failed', 'cancelled')),
  phase_no     int not null default 0,
  policy       jsonb not null default '{}',
  -- Why it is paused or was cancelled, in words for people.
  reason       text,
  -- What had ended when a person last started or resumed it: the abort rule judges only what came after.
  base_succeeded  int not null default 0,
  base_failed     int not null default 0,
  created_by   text not null,
  created_at   timestamptz not null,
  changed_at   timestamptz not null,
  started_at   timestamptz,
  ended_at     timestamptz
);
create index rollout_running on rollout (id) where state = 'running';

create table rollout_phase (
  rollout_id       uuid not null references rollout (id) on delete cascade,
  no               int not null check (no between 1 and 32),
  percent          numeric(6, 3) not null check (percent > 0 and percent <= 100),
  success_percent  numeric(6, 3) not null,
  min_executed     int not null,
  -- Wait for a person before the next phase even when the gate is met.
  hold             boolean not null,
  opened_at        timestamptz,
  primary key (rollout_id, no)
);

create table deployment (
  id                uuid primary key,
  rollout_id        uuid not null references rollout (id),
  device_id         uuid not null references device (id),
  release_id        uuid not null references release (id),
  component         text not null,
  phase_no          int not null,
  state             text not null check (state in (
    'queued', 'offered', 'postponed', 'accepted', 'opted_out', 'downloading', 'verified', 'waiting_window',
    'installing', 'installed', 'rebooting', 'testing', 'succeeded', 'rolled_back', 'failed', 'failed_final',
    'cancelled', 'superseded', 'expired', 'lost')),
  rev               int not null default 0,
  attempts          int not null default 0,
  progress          int,
  code              text,
  detail            text,
  -- What the device must show after it booted the new image (updates.md §7.3).
  commit_nonce      text,
  first_offered_at  timestamptz,
  postponed_until   timestamptz,
  postpone_count    int not null default 0,
  created_at        timestamptz not null,
  changed_at        timestamptz not null,
  unique (rollout_id, device_id)
);
create index deployment_of_rollout on deployment (rollout_id, state, device_id);
-- For the worker that gives up on devices which say nothing (rollouts.md §7).
create index deployment_limit on deployment (changed_at) where state in (
  'accepted', 'downloading', 'verified', 'waiting_window', 'installing', 'installed', 'rebooting', 'testing', 'failed');
create unique index deployment_open on deployment (device_id, component)
  where state not in ('succeeded', 'rolled_back', 'failed_final', 'cancelled', 'superseded', 'expired', 'lost');
create index deployment_device on deployment (device_id, created_at);

-- How many deployments of a phase are in a state, kept by every write to `deployment` in the same transaction, so that
-- nobody counts rows. A number is the sum over the shards; writers on different connections mostly touch different ones.
create table deployment_count (
  rollout_id  uuid not null references rollout (id) on delete cascade,
  phase_no    int not null,
  state       text not null,
  shard       int not null,
  n           int not null,
  primary key (rollout_id, phase_no, state, shard)
);

create table deployment_event (
  seq            bigint generated always as identity primary key,
  deployment_id  uuid not null references deployment (id) on delete cascade,
  from_state     text,
  to_state       text not null,
  actor          text not null check (actor in ('engine', 'device', 'owner', 'operator')),
  code           text,
  detail         text,
  reported_at    timestamptz,
  at             timestamptz not null
);
create index deployment_event_of on deployment_event (deployment_id, seq);

-- The ledger of what owners chose (updates.md §7.2): appended, never changed.
create table choice_event (
  seq            bigint generated always as identity primary key,
  device_id      uuid not null references device (id),
  deployment_id  uuid,
  choice         text not null check (choice in ('accept', 'postpone', 'optOut', 'optIn')),
  until          timestamptz,
  outcome        text not null,
  at             timestamptz not null
);
create index choice_event_of on choice_event (device_id, seq);
