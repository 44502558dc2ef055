-- Enrollment profiles in full: certificates as the way in, approval by hand, a webhook that may refuse, batches.

alter table enrollment_profile
  drop constraint enrollment_profile_auth_type_check,
  add constraint enrollment_profile_auth_type_check check (auth_type in ('token', 'certificate', 'claim')),
  -- DER in base64: an anchor is matched by its subject and its key, nothing else of it.
  add column trust_anchors text[] not null default '{}',
  -- SHA-256 of their subjects, lower hex: finds the profile of a manufacturer's certificate that comes without a label.
  add column anchor_subjects text[] not null default '{}',
  add column approval text not null default 'none' check (approval in ('none', 'manual')),
  -- May a device that has a certificate enroll again, because it lost it?
  add column replaceable text not null default 'off' check (replaceable in ('off', 'same-key', 'on')),
  add column webhook_url text,
  -- Sealed with the key-encryption key, context `enrollment webhook <id>`.
  add column webhook_secret bytea,
  add constraint enrollment_profile_webhook check ((webhook_url is null) = (webhook_secret is null)),
  add constraint enrollment_profile_anchors check (auth_type <> 'certificate' or cardinality(trust_anchors) > 0);
create index enrollment_profile_anchor on enrollment_profile using gin (anchor_subjects);

-- What opens a profile, and how often. Not only tokens: a claim certificate (secret_hash is SHA-256 of its DER), a
-- manufacturer's certificate that was met (secret_hash is SHA-256 of profile and DER), a batch of an operator.
alter table enrollment_token
  add column kind text not null default 'token' check (kind in ('token', 'claim', 'manufacturer', 'batch')),
  add column certificate bytea,
  -- The only serial number it can enroll: proven by the manufacturer's certificate.
  add column identity text,
  add constraint enrollment_token_certificate check ((certificate is not null) = (kind in ('claim', 'manufacturer'))),
  add constraint enrollment_token_identity check ((identity is not null) = (kind = 'manufacturer'));
create index enrollment_token_profile on enrollment_token (profile_id, id);

-- Requests that wait for a person.
create table enrollment_request (
  id             uuid primary key,
  profile_id     uuid not null references enrollment_profile (id),
  token_id       uuid not null references enrollment_token (id),
  -- SHA-256 of token, key, subject and subjectAltName: a device may sign the same request anew each time it asks.
  request_hash   bytea not null unique check (length(request_hash) = 32),
  serial_number  text not null,
  key_algorithm  text not null,
  spki_sha256    bytea not null,
  state          text not null check (state in ('pending', 'approved', 'denied', 'issued')),
  -- Of the certificate that came of it (certificate.request_key).
  request_key    bytea,
  decided_by     text,
  decided_at     timestamptz,
  reason         text,
  created_at     timestamptz not null,
  last_seen_at   timestamptz not null,
  check ((state = 'issued') = (request_key is not null)),
  check ((state = 'pending') = (decided_at is null))
);
create index enrollment_request_open on enrollment_request (profile_id, token_id) where state = 'pending';
create index enrollment_request_seen on enrollment_request (last_seen_at) where state in ('pending', 'approved');

-- Certificates for a file of requests.
create table enrollment_batch (
  id           uuid primary key,
  profile_id   uuid not null references enrollment_profile (id),
  token_id     uuid not null references enrollment_token (id),
  state        text not null check (state in ('loading', 'running', 'done')),
  total        int not null default 0,
  issued       int not null default 0,
  failed       int not null default 0,
  created_by   text not null,
  created_at   timestamptz not null,
  finished_at  timestamptz
);
create index enrollment_batch_running on enrollment_batch (id) where state <> 'done';

create table enrollment_batch_row (
  batch_id     uuid not null references enrollment_batch (id) on delete cascade,
  row_number   int not null,
  csr          bytea,
  state        text not null check (state in ('waiting', 'issued', 'failed')),
  message      text,
  fingerprint  text,
  primary key (batch_id, row_number)
);
create index enrollment_batch_waiting on enrollment_batch_row (batch_id, row_number) where state = 'waiting';
