-- When updates may begin (rollouts.md §8): for a device, for the devices of a group; and days on which nothing begins at all.

-- What it says is a WindowRule (server/rollouts/window-wire.ts); when it is open is worked out, never stored.
create table maintenance_window (
  id          uuid primary key,
  device_id   uuid unique references device (id) on delete cascade,
  group_id    uuid unique references device_group (id) on delete cascade,
  rule        jsonb not null,
  created_by  text not null,
  created_at  timestamptz not null,
  changed_at  timestamptz not null,
  check (num_nonnulls(device_id, group_id) = 1)
);

-- Of the whole organisation.
create table blackout_calendar (
  id          uuid primary key,
  name        text not null unique check (length(name) between 1 and 100),
  zone        text not null check (length(zone) between 1 and 64),
  -- Dates, and ranges of them: `2026-12-24`, `2026-12-24/2027-01-02`.
  dates       jsonb not null,
  created_by  text not null,
  created_at  timestamptz not null,
  changed_at  timestamptz not null
);

alter table rollout
  -- Passes the windows of groups and devices: `{reason, blackouts}`.
  add column ignore_windows jsonb,
  -- How long the release takes nearly all devices that have it, from the start of the download to the proof; null while too few have.
  add column needed_ms bigint check (needed_ms >= 0);
