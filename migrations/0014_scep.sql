-- SCEP for devices that know nothing newer: the registration authority's certificate, challenges, and what was seen.

alter table certificate drop constraint certificate_kind_check;
alter table certificate add constraint certificate_kind_check
  check (kind in ('server', 'device', 'ocsp-responder', 'claim', 'scep-ra'));

-- A challenge opens its profile once, for one serial number (RFC 8894 §2.4): secret_hash is SHA-256 of it.
alter table enrollment_token
  drop constraint enrollment_token_kind_check,
  add constraint enrollment_token_kind_check check (kind in ('token', 'claim', 'manufacturer', 'batch', 'challenge')),
  drop constraint enrollment_token_identity,
  add constraint enrollment_token_identity check ((identity is not null) = (kind in ('manufacturer', 'challenge')));

-- Off for every profile that has no row.
create table scep_policy (
  profile_id        uuid primary key references enrollment_profile (id),
  enabled           boolean not null,
  -- What old devices of the line may still use.
  allow_sha1        boolean not null,
  allow_triple_des  boolean not null,
  allow_ber         boolean not null,
  changed_at        timestamptz not null
);

-- A transactionID belongs to the key it was first used for; the request is kept for CertPoll.
create table scep_transaction (
  profile_id      uuid not null references enrollment_profile (id),
  transaction_id  text not null check (length(transaction_id) between 1 and 128),
  spki_sha256     bytea not null check (length(spki_sha256) = 32),
  token_id        uuid references enrollment_token (id),
  csr             bytea not null,
  last_seen_at    timestamptz not null,
  primary key (profile_id, transaction_id)
);
create index scep_transaction_seen on scep_transaction (last_seen_at);

-- Every nonce counts once for a signer.
create table scep_nonce (
  spki_sha256  bytea not null check (length(spki_sha256) = 32),
  nonce        bytea not null check (length(nonce) = 16),
  seen_at      timestamptz not null,
  primary key (spki_sha256, nonce)
);
create index scep_nonce_seen on scep_nonce (seen_at);
