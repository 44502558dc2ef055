-- The owner's choice (updates.md §7.2): what a model's maker decided about it, fixes that could not be kept apart from
-- features, overrides by two people, and what an owner was shown when they chose.

alter table model add column policy jsonb not null default '{}';

-- Of a security release that brings more than fixes: why the two could not be separated.
alter table release add column mixed_reason jsonb;

-- Whether the owners of a profile's devices agreed that the operator may override them; the device's own word is the other
-- half: managed_agreed is what it says in hello, and nothing is overridden unless both say so.
alter table enrollment_profile add column managed boolean not null default false;
alter table device add column managed_agreed boolean not null default false;

-- chosen_at is by the device's trusted time; text_sha256 is of the text that it showed.
alter table choice_event
  add column version text,
  add column text_sha256 text check (text_sha256 ~ '^[0-9a-f]{64}$'),
  add column chosen_at timestamptz;

-- In force while two people beside its author have approved it, it is not taken back and its time is not over.
create table update_override (
  id             uuid primary key,
  deployment_id  uuid not null references deployment (id) on delete cascade,
  reason         text not null check (length(reason) between 1 and 200),
  until          timestamptz not null,
  approved_by    text[] not null default '{}' check (cardinality(approved_by) <= 2),
  created_by     text not null,
  created_at     timestamptz not null,
  approved_at    timestamptz,
  revoked_by     text,
  revoked_at     timestamptz,
  check ((revoked_by is null) = (revoked_at is null)),
  check ((approved_at is null) = (cardinality(approved_by) < 2))
);
create unique index update_override_open on update_override (deployment_id) where revoked_at is null;
