-- The two-person rule: how many others have to agree to what. A kind without a row needs nobody.
create table approval_policy (
  kind           text primary key check (kind in ('publication', 'rollout-start', 'override', 'group-disable', 'role-change')),
  needed         integer not null check (needed between 0 and 5),
  expires_hours  integer not null check (expires_hours between 1 and 720),
  changed_by     text not null,
  changed_at     timestamptz not null
);

-- What somebody wants to do and may not do alone.
create table approval_request (
  id            uuid primary key,
  kind          text not null,
  -- What it is done to: an id or a name.
  subject       text not null,
  -- Of a group: who may see and decide is limited to groups.
  group_id      uuid,
  -- SHA-256 over what is asked and over what it is done to as it is now: after a change of either it is another one.
  hash          bytea not null check (length(hash) = 32),
  -- What is asked, for those who decide.
  asked         jsonb not null,
  author        text not null,
  author_voice  text not null,
  state         text not null check (state in ('open', 'rejected', 'withdrawn', 'used')),
  created_at    timestamptz not null,
  expires_at    timestamptz not null,
  ended_at      timestamptz,
  check ((state = 'open') = (ended_at is null))
);
create unique index approval_request_open on approval_request (hash, author_voice) where state = 'open';
create index approval_request_author on approval_request (author_voice) where state = 'open';
create index approval_request_age on approval_request (expires_at);

-- One word of each person. `actor` is how it was said, `voice` whose word it is.
create table approval_voice (
  request_id  uuid not null references approval_request (id) on delete cascade,
  voice       text not null,
  actor       text not null,
  reason      text,
  at          timestamptz not null,
  primary key (request_id, voice)
);
