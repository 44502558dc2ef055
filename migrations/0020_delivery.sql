-- Shorter ways to the bytes of a published release (updates.md section 5): made beforehand by a worker, named by the director.
create table delivery_form (
  id             uuid primary key,
  target_sha256  text not null check (target_sha256 ~ '^[0-9a-f]{64}$'),
  method         text not null check (method in ('zstd', 'delta-z1')),
  -- Of a delta: the image that must be installed.
  base_sha256    text check (base_sha256 ~ '^[0-9a-f]{64}$'),
  state          text not null default 'waiting' check (state in ('waiting', 'made', 'refused')),
  -- Why there is none.
  reason         text check (reason in ('not-smaller', 'cpu-limit', 'failed')),
  -- Of what was made.
  sha256         text check (sha256 ~ '^[0-9a-f]{64}$'),
  length         bigint check (length > 0),
  index_length   bigint,
  index_sha256   text,
  block_bytes    int,
  cpu_ms         int,
  -- Who makes it now: nobody else takes it before that time, and a process that died is succeeded after it.
  lease          uuid,
  leased_until   timestamptz,
  attempts       int not null default 0,
  created_at     timestamptz not null,
  changed_at     timestamptz not null,
  check ((method = 'delta-z1') = (base_sha256 is not null)),
  check ((state = 'refused') = (reason is not null)),
  check ((state = 'made') = (sha256 is not null and length is not null)),
  check ((state = 'made' and method = 'delta-z1')
    = (index_length is not null and index_sha256 is not null and block_bytes is not null))
);
create unique index delivery_form_one on delivery_form (target_sha256, method, coalesce(base_sha256, ''));
create index delivery_form_waiting on delivery_form (created_at, id) where state = 'waiting';

-- When the worker last looked which images the devices run that could take a release.
create table delivery_plan (
  release_id  uuid primary key references release (id),
  planned_at  timestamptz not null
);
