-- Roles of one's own, beside those that are always there (server/protocol/permissions.ts).
create table access_role (
  name         text primary key check (name ~ '^[a-z][a-z0-9-]{0,39}$'),
  description  text not null,
  permissions  text[] not null check (cardinality(permissions) between 1 and 200),
  -- Narrows whoever has the role to devices that are in all of these. No foreign key: the id of a group that is gone fits no device, where
  -- leaving it out would widen the role.
  group_ids    uuid[] not null check (cardinality(group_ids) <= 20),
  created_by   text not null,
  created_at   timestamptz not null,
  changed_at   timestamptz not null
);

-- Who has which role: the only place that says so. `principal` is the actor of audit rows: key:ID, user:ID, workload:ID.
create table access_grant (
  principal   text not null check (principal ~ '^[a-z]{1,20}:[0-9a-f-]{36}$'),
  no          integer not null check (no between 1 and 20),
  -- A role that is always there, or one of access_role.
  role        text not null,
  -- Narrows once more, as those of the role do.
  group_ids   uuid[] not null check (cardinality(group_ids) <= 20),
  created_by  text not null,
  created_at  timestamptz not null,
  primary key (principal, no)
);
create index access_grant_role on access_grant (role);

-- What keys may do was their column `role`, which from now on only tells what they were made with.
insert into access_grant (principal, no, role, group_ids, created_by, created_at)
  select 'key:' || id, 1, role, '{}', created_by, created_at from api_key;
alter table api_key drop constraint api_key_role_check;
