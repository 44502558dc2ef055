-- Audit as evidence (docs/audit.md): where a caller came from, signed checkpoints, retention, and rights that keep the server's own role from
-- changing what is recorded.

alter table audit_event add column origin jsonb;
-- What a row's hash covers: 1 without its origin, as in all rows from before; 2 with it.
alter table audit_event add column format smallint not null default 1 check (format in (1, 2));
alter table audit_event alter column format set default 2;

-- The keys that checkpoints are signed with. A key that was replaced keeps its public half only.
create table audit_key (
  id           uuid primary key,
  log_id       uuid not null,
  public_key   bytea not null unique check (length(public_key) = 32),
  wrapped_key  bytea,
  -- By the key before it; the first one has none, and is handed to auditors by hand.
  endorsement  text,
  created_at   timestamptz not null,
  retired_at   timestamptz
);
create unique index audit_key_current on audit_key ((true)) where retired_at is null;

create table audit_checkpoint (
  chain_no  bigint primary key,
  hash      bytea not null,
  at        timestamptz not null,
  key_id    uuid not null references audit_key,
  note      text not null
);

-- Where the chain begins since its oldest rows were dropped: written by audit_drop and nothing else.
create table audit_start (
  chain_no    bigint primary key,
  hash        bytea not null,
  rows        bigint not null,
  dropped_at  timestamptz not null
);

-- While the newest row says so, nothing is dropped.
create table audit_hold (
  id          bigint generated always as identity primary key,
  at          timestamptz not null,
  actor       text not null,
  held        boolean not null,
  reason      text not null
);

-- How far a receiver outside has been told.
create table audit_stream (
  name           text primary key,
  chain_no       bigint not null default 0,
  checkpoint_no  bigint not null default 0,
  owner          uuid,
  owned_until    timestamptz,
  failed_at      timestamptz,
  failure        text
);

create or replace function audit_append_only() returns trigger language plpgsql as $$
begin
  if tg_table_name = 'audit_event' then
    if tg_op = 'UPDATE' and old.chain_no is null and new.chain_no is not null
       and (old.seq, old.at, old.actor, old.action, old.subject, old.facts, old.format)
         = (new.seq, new.at, new.actor, new.action, new.subject, new.facts, new.format)
       and old.request_id is not distinct from new.request_id and old.origin is not distinct from new.origin then
      return new;
    end if;
    if tg_op = 'DELETE' and exists (select from audit_start where chain_no >= old.chain_no) then
      return old;
    end if;
  elsif tg_table_name = 'audit_checkpoint' and tg_op = 'DELETE'
        and exists (select from audit_start where chain_no > old.chain_no) then
    return old;
  end if;
  raise exception '% is append-only', tg_table_name;
end $$;
create trigger audit_checkpoint_append_only before update or delete on audit_checkpoint
  for each row execute function audit_append_only();
create trigger audit_start_append_only before update or delete on audit_start
  for each row execute function audit_append_only();
create trigger audit_hold_append_only before update or delete on audit_hold
  for each row execute function audit_append_only();

create function audit_no_truncate() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name;
end $$;
create trigger audit_no_truncate before truncate on audit_event for each statement execute function audit_no_truncate();
create trigger audit_checkpoint_no_truncate before truncate on audit_checkpoint
  for each statement execute function audit_no_truncate();
create trigger audit_start_no_truncate before truncate on audit_start for each statement execute function audit_no_truncate();
create trigger audit_hold_no_truncate before truncate on audit_hold for each statement execute function audit_no_truncate();

-- Gives rows their places at the end of the chain, once. It runs with the rights of its owner: the server's role may not update.
create function audit_seal(seqs bigint[], chain_nos bigint[], prevs text[], hashes text[]) returns void
language plpgsql security definer as $$
declare
  head_no bigint;
  head_hash bytea;
  changed bigint;
begin
  select e.chain_no, e.hash into head_no, head_hash from audit_event e where e.chain_no is not null order by e.chain_no desc limit 1;
  if chain_nos[1] is distinct from coalesce(head_no, 0) + 1
     or decode(prevs[1], 'hex') is distinct from coalesce(head_hash, decode(repeat('00', 32), 'hex')) then
    raise exception 'audit_seal: this is not the next place of the chain';
  end if;
  update audit_event e set chain_no = v.chain_no, prev_hash = decode(v.prev, 'hex'), hash = decode(v.own, 'hex')
  from unnest(seqs, chain_nos, prevs, hashes) as v (seq, chain_no, prev, own)
  where e.seq = v.seq and e.chain_no is null;
  get diagnostics changed = row_count;
  if changed <> cardinality(seqs) then
    raise exception 'audit_seal: a row is missing or has a place already';
  end if;
end $$;

-- Drops the oldest rows, up to a place that a checkpoint was signed for. Whatever its caller wants: nothing younger than 90 days, nothing under
-- a hold, and never the end of the chain.
create function audit_drop(bound bigint) returns bigint
language plpgsql security definer as $$
declare
  dropped bigint;
begin
  if (select h.held from audit_hold h order by h.id desc limit 1) then
    raise exception 'audit_drop: the audit log is held';
  end if;
  if not exists (select from audit_event e join audit_checkpoint c using (chain_no, hash) where e.chain_no = bound) then
    raise exception 'audit_drop: no checkpoint was signed for this place';
  end if;
  if not exists (select from audit_event e where e.chain_no > bound) then
    raise exception 'audit_drop: the end of the chain stays';
  end if;
  if exists (select from audit_event e where e.chain_no <= bound and e.at > now() - interval '90 days') then
    raise exception 'audit_drop: rows of the last 90 days stay';
  end if;
  insert into audit_start (chain_no, hash, rows, dropped_at)
  select e.chain_no, e.hash, (select count(*) from audit_event o where o.chain_no <= bound), now()
  from audit_event e where e.chain_no = bound;
  delete from audit_event e where e.chain_no <= bound;
  get diagnostics dropped = row_count;
  delete from audit_checkpoint c where c.chain_no < bound;
  return dropped;
end $$;

-- Lets a role run the server: everything but to change or remove what is recorded. Called by the owner of the tables, after each migration.
create function grant_server_role(role text) returns void language plpgsql as $$
declare
  name text;
  kept constant text[] := array['audit_event', 'audit_checkpoint', 'audit_key', 'audit_start', 'audit_hold', 'schema_migration'];
begin
  if exists (select from pg_roles r where r.rolname = role and r.rolsuper) or pg_has_role(role, current_user, 'MEMBER') then
    raise exception 'role % owns these tables or is a superuser: rights cannot bind it. Make another role for the server', role;
  end if;
  execute format('revoke create on schema %I from public', current_schema());
  execute format('grant usage on schema %I to %I', current_schema(), role);
  for name in select tablename from pg_tables where schemaname = current_schema() loop
    execute format('revoke all on table %I from public, %I', name, role);
    if name = any (kept) then
      execute format('grant select on table %I to %I', name, role);
    else
      execute format('grant select, insert, update, delete on table %I to %I', name, role);
    end if;
  end loop;
  execute format('grant usage on all sequences in schema %I to %I', current_schema(), role);
  execute format('grant insert (at, actor, action, subject, facts, request_id, origin) on audit_event to %I', role);
  execute format('grant insert on audit_checkpoint, audit_key to %I', role);
  execute format('grant insert (at, actor, held, reason) on audit_hold to %I', role);
  -- The private half changes with the key-encryption key, and goes when the key is replaced.
  execute format('grant update (wrapped_key, retired_at) on audit_key to %I', role);
  execute format('grant execute on function audit_seal(bigint[], bigint[], text[], text[]), audit_drop(bigint) to %I', role);
end $$;

revoke execute on function audit_seal(bigint[], bigint[], text[], text[]), audit_drop(bigint), grant_server_role(text) from public;

-- A table of the same name among the temporary ones must not be taken for ours.
do $$
begin
  execute format('alter function audit_append_only() set search_path = %I, pg_temp', current_schema());
  execute format('alter function audit_seal(bigint[], bigint[], text[], text[]) set search_path = %I, pg_temp', current_schema());
  execute format('alter function audit_drop(bigint) set search_path = %I, pg_temp', current_schema());
end $$;
