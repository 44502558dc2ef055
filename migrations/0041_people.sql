-- People, how they are signed in, and what else may call without an API key.

create table person (
  id             uuid primary key,
  name           text not null check (length(name) between 1 and 100),
  -- Of a local account the name to sign in with. A provider's word about an address names nobody.
  email          text check (length(email) between 3 and 254),
  state          text not null check (state in ('active', 'disabled')),
  -- Who this is at the OpenID provider; of a local account both are null.
  oidc_issuer    text check (length(oidc_issuer) <= 500),
  oidc_subject   text check (length(oidc_subject) <= 255),
  created_by     text not null,
  created_at     timestamptz not null,
  disabled_at    timestamptz,
  last_sign_in_at timestamptz,
  check ((oidc_issuer is null) = (oidc_subject is null)),
  check ((state = 'disabled') = (disabled_at is not null))
);
create unique index person_oidc on person (oidc_issuer, oidc_subject) where oidc_issuer is not null;
create unique index person_email on person (lower(email)) where oidc_issuer is null and email is not null;

-- Of the cookie only a hash is stored. An ended session stays for a while, to be looked at.
create table operator_session (
  id             uuid primary key,
  person_id      uuid not null references person (id),
  token_hash     bytea not null unique check (length(token_hash) = 32),
  method         text not null check (method in ('oidc', 'password', 'passkey')),
  created_at     timestamptz not null,
  last_seen_at   timestamptz not null,
  -- The absolute end; the end for want of use is reckoned from last_seen_at.
  expires_at     timestamptz not null,
  -- When its person last showed a second factor, or signed in anew at the provider.
  proven_at      timestamptz not null,
  address        text not null check (length(address) <= 64),
  user_agent     text not null check (length(user_agent) <= 200),
  -- Of a session that a provider began: which of its sessions, and what to show it when signing out (under the key-encryption key).
  oidc_sid       text check (length(oidc_sid) <= 255),
  oidc_hint      bytea check (length(oidc_hint) <= 16384),
  ended_at       timestamptz,
  ended_reason   text check (ended_reason in ('signed-out', 'by-administrator', 'by-person', 'by-provider', 'person-disabled', 'too-many', 'credentials-changed')),
  check ((ended_at is null) = (ended_reason is null))
);
create index operator_session_person on operator_session (person_id, id);
create index operator_session_sid on operator_session (oidc_sid) where oidc_sid is not null and ended_at is null;
create index operator_session_age on operator_session (expires_at);

-- A sign-in at the provider that is under way: one use, a few minutes. The browser's cookie holds what the rest is derived from.
create table oidc_attempt (
  state_hash     bytea primary key check (length(state_hash) = 32),
  browser_hash   bytea not null check (length(browser_hash) = 32),
  -- Of a step-up: the session that is to be proven anew.
  session_id     uuid references operator_session (id) on delete cascade,
  return_to      text not null check (length(return_to) <= 500),
  created_at     timestamptz not null,
  expires_at     timestamptz not null
);
create index oidc_attempt_age on oidc_attempt (expires_at);

-- Whose tokens a pipeline may call with, instead of a stored secret.
create table workload_identity (
  id             uuid primary key,
  name           text not null unique check (length(name) between 1 and 100),
  issuer         text not null check (length(issuer) <= 500),
  audience       text not null check (length(audience) between 1 and 255),
  -- What the subject has to look like; `*` stands for any characters but `:`.
  subject        text not null check (length(subject) between 1 and 255),
  -- Other claims that have to be just so: name → text.
  claims         jsonb not null,
  role           text not null,
  created_by     text not null,
  created_at     timestamptz not null,
  last_used_at   timestamptz,
  removed_at     timestamptz
);
create index workload_identity_issuer on workload_identity (issuer) where removed_at is null;

-- A certificate that opens the interface, known by its fingerprint; the key stays with its holder.
create table operator_certificate (
  id             uuid primary key,
  name           text not null check (length(name) between 1 and 100),
  fingerprint    bytea not null unique check (length(fingerprint) = 32),
  role           text not null,
  owner_id       uuid references person (id),
  not_before     timestamptz not null,
  not_after      timestamptz not null,
  created_by     text not null,
  created_at     timestamptz not null,
  last_used_at   timestamptz,
  revoked_at     timestamptz
);

alter table api_key
  add column owner_id uuid references person (id),
  -- The secret before the last rotation, which works until overlap_ends_at.
  add column previous_hash bytea unique check (length(previous_hash) = 32),
  add column overlap_ends_at timestamptz,
  add column rotation_id uuid,
  add column rotated_at timestamptz,
  add check ((previous_hash is null) = (overlap_ends_at is null)),
  add check ((rotation_id is null) = (rotated_at is null));
create index api_key_owner on api_key (owner_id) where owner_id is not null;
