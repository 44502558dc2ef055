-- What a rollout gives out together with its own release, all or nothing: one more release for each other component.

create table rollout_companion (
  rollout_id  uuid not null references rollout (id) on delete cascade,
  release_id  uuid not null references release (id),
  component   text not null,
  primary key (rollout_id, component)
);
create index rollout_companion_release on rollout_companion (release_id);

-- The transparency log (RFC 6962): one leaf for every published metadata file and for every director targets file. Append-only.
create table log_entry (
  no     bigint primary key check (no >= 0),
  -- What the leaf is the hash of, canonical JSON.
  data   text not null,
  leaf   bytea not null unique check (length(leaf) = 32),
  at     timestamptz not null
);

-- Hashes of complete subtrees, leaves included: they never change, so a proof is a few look-ups whatever the size.
create table log_node (
  level  int not null check (level >= 0),
  no     bigint not null check (no >= 0),
  hash   bytea not null check (length(hash) = 32),
  primary key (level, no)
);

-- The right edge, and what makes appending one at a time: who appends locks the one row.
create table log_edge (
  id     int primary key default 1 check (id = 1),
  size   bigint not null default 0,
  -- Hashes of the subtrees that make the root, left to right, lower hex.
  peaks  text[] not null default '{}'
);
insert into log_edge default values;

create function log_append_only() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name;
end $$;
create trigger log_entry_append_only before update or delete on log_entry
  for each row execute function log_append_only();
create trigger log_node_append_only before update or delete on log_node
  for each row execute function log_append_only();

-- Settings of one device, over those of the fleet: what it shall have, and what became of it.
create table device_settings (
  id            uuid primary key,
  device_id     uuid not null references device (id),
  revision      int not null check (revision >= 1),
  -- The exact text that the device gets.
  settings      text not null,
  sha256        text not null,
  size          int not null,
  state         text not null check (state in ('wanted', 'applied', 'refused', 'reverted', 'replaced')),
  commit_nonce  text,
  code          text,
  detail        text,
  created_by    text not null,
  created_at    timestamptz not null,
  changed_at    timestamptz not null,
  unique (device_id, revision)
);
create unique index device_settings_wanted on device_settings (device_id) where state = 'wanted';
