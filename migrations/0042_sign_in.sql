-- What people with local accounts prove themselves with, and what is under way.

create table person_password (
  person_id      uuid primary key references person (id),
  -- Argon2id in the PHC string format: its own parameters and salt.
  hash           text not null check (length(hash) <= 200),
  changed_at     timestamptz not null
);

create table person_totp (
  person_id      uuid primary key references person (id),
  -- Under the key-encryption key.
  sealed_secret  bytea not null check (length(sealed_secret) <= 200),
  -- The newest time step that a code was taken of: none is taken twice.
  last_step      bigint not null,
  created_at     timestamptz not null
);

create table person_passkey (
  id             uuid primary key,
  person_id      uuid not null references person (id),
  name           text not null check (length(name) between 1 and 100),
  credential_id  bytea not null unique check (length(credential_id) between 1 and 1023),
  -- COSE.
  public_key     bytea not null check (length(public_key) <= 4096),
  counter        bigint not null,
  transports     text[] not null,
  is_synced      boolean not null,
  is_backed_up   boolean not null,
  aaguid         text not null check (length(aaguid) <= 36),
  created_at     timestamptz not null,
  last_used_at   timestamptz
);
create index person_passkey_person on person_passkey (person_id, id);

create table person_recovery_code (
  person_id      uuid not null references person (id),
  code_hash      bytea not null check (length(code_hash) = 32),
  created_at     timestamptz not null,
  used_at        timestamptz,
  primary key (person_id, code_hash)
);

-- One for a person at a time; the link holds the token.
create table person_invitation (
  id             uuid primary key,
  person_id      uuid not null references person (id),
  token_hash     bytea not null unique check (length(token_hash) = 32),
  created_by     text not null,
  created_at     timestamptz not null,
  expires_at     timestamptz not null,
  used_at        timestamptz
);
create unique index person_invitation_open on person_invitation (person_id) where used_at is null;

-- Between two steps of a sign-in or of adding a factor: one use, a few minutes.
create table sign_in_ticket (
  token_hash     bytea primary key check (length(token_hash) = 32),
  kind           text not null check (kind in ('invited', 'password-shown', 'passkey', 'totp-setup', 'passkey-setup', 'step-up')),
  person_id      uuid references person (id),
  session_id     uuid references operator_session (id) on delete cascade,
  invitation_id  uuid references person_invitation (id) on delete cascade,
  -- Chosen with the invitation; becomes the account's together with its first second factor.
  password_hash  text check (length(password_hash) <= 200),
  -- Of an authenticator app that has not answered yet; under the key-encryption key.
  sealed_secret  bytea check (length(sealed_secret) <= 200),
  -- Of the passkey that is asked for.
  challenge      bytea check (length(challenge) = 32),
  tries          integer not null default 0,
  created_at     timestamptz not null,
  expires_at     timestamptz not null
);
create index sign_in_ticket_age on sign_in_ticket (expires_at);
create index sign_in_ticket_person on sign_in_ticket (person_id) where person_id is not null;

-- Failed attempts by account (a hash of the name that was typed, whether there is such an account or not) and by network.
create table sign_in_limit (
  subject        text primary key check (length(subject) <= 80),
  failures       integer not null,
  last_at        timestamptz not null,
  blocked_until  timestamptz
);
create index sign_in_limit_age on sign_in_limit (last_at);
