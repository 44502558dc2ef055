-- Profiles that are paused, bound to networks, or to so many devices an hour.

alter table enrollment_profile
  add column paused_at timestamptz,
  -- CIDR; none: from anywhere.
  add column source_networks text[] not null default '{}' check (cardinality(source_networks) <= 64),
  add column quota_per_hour int check (quota_per_hour > 0),
  -- Of the hour that began with the first enrollment after the one before.
  add column hour_began_at timestamptz,
  add column hour_used int not null default 0 check (hour_used >= 0);
