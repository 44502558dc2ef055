-- Who signs what: the installation, its authorities, the certificates they issued and the lists of those they took back.

create table installation (
  id          int primary key check (id = 1),
  -- Sealed with the key-encryption key: a start with another key is refused before anything is written.
  kek_check   bytea not null,
  created_at  timestamptz not null
);

create table authority (
  id               uuid primary key,
  purpose          text not null check (purpose in ('root', 'devices', 'servers')),
  name             text not null,
  state            text not null default 'active' check (state in ('active', 'retired')),
  issuer_id        uuid references authority (id),
  certificate      bytea not null,
  -- Null when the key is held elsewhere (an offline root).
  wrapped_key      bytea,
  -- Rises with every revocation under this authority; a CRL says which one it covers.
  revocation_rev   bigint not null default 0,
  created_at       timestamptz not null
);
create unique index authority_active on authority (purpose) where state = 'active';

create table certificate (
  id                 uuid primary key,
  authority_id       uuid not null references authority (id),
  serial             bytea not null check (length(serial) between 8 and 20),
  kind               text not null check (kind in ('server', 'device')),
  state              text not null check (state in ('pending', 'issued', 'superseded', 'revoked', 'abandoned')),
  device_id          uuid,
  -- The certificate that was presented to get this one: superseded once this one was used.
  replaces_id        uuid references certificate (id),
  -- Whose use it counted as; given back when the intent is abandoned.
  enrollment_token_id uuid,
  -- SHA-256 of the public key (SubjectPublicKeyInfo): two devices never share one.
  spki_sha256        bytea not null check (length(spki_sha256) = 32),
  -- SHA-256 of operation, principal and CSR: the same request again gets the same certificate.
  request_key        bytea,
  -- What is to be signed, stored before it is signed: a crash in between resumes with the same serial and bytes.
  tbs                bytea not null,
  der                bytea,
  fingerprint        text check (length(fingerprint) = 64),
  subject            text not null,
  not_before         timestamptz not null,
  not_after          timestamptz not null,
  revoked_at         timestamptz,
  revocation_reason  text,
  created_at         timestamptz not null,
  unique (authority_id, serial),
  check ((state in ('pending', 'abandoned')) = (der is null)),
  check ((state = 'revoked') = (revoked_at is not null))
);
create unique index certificate_request on certificate (request_key) where request_key is not null;
create unique index certificate_fingerprint on certificate (fingerprint) where fingerprint is not null;
create index certificate_device on certificate (device_id, created_at) where device_id is not null;
create index certificate_key on certificate (spki_sha256);
create index certificate_pending on certificate (created_at) where state = 'pending';
-- What a revocation list holds: an abandoned intent may have been signed, so it counts as revoked.
create index certificate_listed on certificate (authority_id, not_after) where state in ('revoked', 'abandoned');

create table server_identity (
  certificate_id  uuid primary key references certificate (id),
  wrapped_key     bytea not null,
  created_at      timestamptz not null
);

create table crl (
  authority_id  uuid not null references authority (id),
  number        bigint not null,
  covers_rev    bigint not null,
  der           bytea not null,
  this_update   timestamptz not null,
  next_update   timestamptz not null,
  primary key (authority_id, number)
);
