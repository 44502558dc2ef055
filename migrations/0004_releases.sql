-- Bytes, what they are, and the signed metadata that vouches for them.

create table artifact (
  id          uuid primary key,
  sha256      text not null unique check (sha256 ~ '^[0-9a-f]{64}$'),
  size        bigint not null check (size >= 0),
  name        text not null,
  created_by  text not null,
  created_at  timestamptz not null
);

create table model (
  id            uuid primary key,
  name          text not null unique check (name ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
  hardware_ids  text[] not null,
  created_at    timestamptz not null
);

create table release (
  id                uuid primary key,
  model             text not null references model (name),
  component         text not null check (component ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
  version           text not null,
  build             bigint not null,
  svn               bigint not null,
  class             text not null check (class in ('security', 'feature', 'config')),
  artifact_id       uuid not null references artifact (id),
  hardware_ids      text[] not null,
  min_previous      bigint,
  requires          jsonb not null default '{}',
  fixes             text[] not null default '{}',
  notes             text not null default '',
  advisory          jsonb,
  state             text not null default 'draft' check (state in ('draft', 'submitted', 'published', 'withdrawn')),
  metadata_version  bigint,
  created_by        text not null,
  created_at        timestamptz not null,
  published_at      timestamptz
);
create unique index release_version on release (model, component, version) where state <> 'withdrawn';
create unique index release_build on release (model, component, build) where state <> 'withdrawn';

-- One row a metadata file version. `draft` rows hold what is to be signed; `published` rows are served for ever; `discarded`
-- ones were drafts that another replaced: somebody may have signed them offline, so their numbers are not used again.
create table metadata_file (
  repository    text not null check (repository in ('image', 'director')),
  role          text not null,
  version       bigint not null check (version >= 1),
  state         text not null check (state in ('draft', 'published', 'discarded')),
  signed        text not null,
  signed_sha256 text not null,
  envelope      text,
  expires_at    timestamptz not null,
  created_at    timestamptz not null,
  published_at  timestamptz,
  primary key (repository, role, version),
  check ((state = 'published') = (envelope is not null))
);
create unique index metadata_draft on metadata_file (repository, role) where state = 'draft';

create table metadata_signature (
  repository     text not null,
  role           text not null,
  version        bigint not null,
  keyid          text not null,
  signed_sha256  text not null,
  sig            text not null,
  sent_by        text not null,
  at             timestamptz not null,
  primary key (repository, role, version, keyid)
);

-- Public keys that the operator named as allowed to sign releases; a model's delegation is made from them.
create table release_key (
  keyid       text primary key,
  name        text not null,
  public      text not null,
  created_at  timestamptz not null
);

-- Online roles only: image snapshot and timestamp; director targets, snapshot and timestamp.
create table online_key (
  repository   text not null,
  role         text not null,
  keyid        text not null,
  public       text not null,
  wrapped_key  bytea not null,
  created_at   timestamptz not null,
  primary key (repository, role)
);

-- What one device is to run next, as last signed.
create table director_state (
  device_id         uuid primary key,
  targets_version   bigint not null,
  snapshot_version  bigint not null,
  targets           text not null,
  snapshot          text not null,
  -- Of the content without version and expiry: signing again is needed only when this changes or the file grows old.
  content_hash      text not null,
  -- Everything the device may download now.
  artifact_sha256s  text[] not null,
  expires_at        timestamptz not null,
  signed_at         timestamptz not null
);
