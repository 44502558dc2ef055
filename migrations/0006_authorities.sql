-- The life of authorities: made ahead, active, still accepted, retired; roots that follow each other; requests to an offline
-- root; and the rotation of the key-encryption key.

alter table authority drop constraint authority_purpose_check;
alter table authority add constraint authority_purpose_check
  check (purpose in ('root', 'devices', 'servers', 'claims'));
alter table authority drop constraint authority_state_check;
-- `prepared`: everybody learns of it, it issues nothing yet. `accepted`: another one issues now, what this one issued counts.
alter table authority add constraint authority_state_check
  check (state in ('prepared', 'active', 'accepted', 'retired'));
alter table authority add column changed_at timestamptz not null default now();
update authority set changed_at = created_at;

-- The two certificates with which one follows from a root to the next, and back (RFC 4210 §4.4).
create table root_link (
  old_id        uuid not null references authority (id),
  new_id        uuid not null references authority (id),
  old_with_new  bytea not null,
  new_with_old  bytea not null,
  primary key (old_id, new_id)
);

-- Keys of authorities to be, for which a root elsewhere was asked to sign. The id becomes the authority's.
create table authority_request (
  id           uuid primary key,
  purpose      text not null check (purpose in ('devices', 'servers', 'claims')),
  name         text not null,
  root_id      uuid not null references authority (id),
  -- The request file, PEM.
  request      text not null,
  wrapped_key  bytea not null,
  created_at   timestamptz not null
);

-- Null while the key-encryption key is the first one.
alter table installation add column kek_rotated_at timestamptz;
