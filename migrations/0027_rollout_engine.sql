-- What the whole rollout engine keeps about a rollout (rollouts.md §2 and §5–§9). Everything is on the rollout or its phases:
-- creating and starting one writes O(phases) rows, whatever the fleet.

alter table rollout
  add column kind text not null default 'update' check (kind in ('update', 'retry', 'rollback', 'certificate')),
  -- Higher goes first where a device could take part in several.
  add column priority int not null default 500 check (priority between 0 and 1000),
  -- Deployments in states that hold a slot, at most.
  add column max_in_flight int check (max_in_flight > 0),
  -- What admitted devices may cause in downloads, at most.
  add column bytes_per_minute bigint check (bytes_per_minute > 0),
  -- A device query, frozen; judged for one device at its contact.
  add column query text check (length(query) between 1 and 4000),
  -- Empty: the built-in rules.
  add column abort_rules jsonb not null default '[]',
  add column install_window jsonb,
  add column approvals_needed int not null default 0 check (approvals_needed between 0 and 10),
  -- SHA-256 of the canonical definition; what an approval is bound to.
  add column definition_hash bytea check (length(definition_hash) = 32),
  -- Who changed the definition last; null while it is as its author made it.
  add column edited_by text,
  add column start_at timestamptz,
  -- The rollout that this one retries or takes back.
  add column parent_id uuid references rollout (id),
  -- Theoretical arrival times of the two rate limits (GCRA), in force for all processes together.
  add column rate_at timestamptz,
  add column bytes_at timestamptz;
create index rollout_parent on rollout (parent_id) where parent_id is not null;
create index rollout_waits_for_start on rollout (start_at) where state = 'approved' and start_at is not null;

alter table rollout_phase
  add column kind text not null default 'percent' check (kind in ('percent', 'count', 'cohort')),
  -- The first so many devices that are met.
  add column count int check (count > 0),
  -- A group as it was at the start: rollout_cohort_member holds who that was.
  add column cohort_id uuid references device_group (id),
  add column seen_within_s bigint check (seen_within_s > 0),
  add column rate jsonb,
  add column soak_s bigint not null default 0 check (soak_s >= 0),
  -- Exact: written by the transaction that admits.
  add column admitted int not null default 0;

-- A person's word for one definition of a rollout, and for no other.
create table rollout_approval (
  rollout_id       uuid not null references rollout (id) on delete cascade,
  approver         text not null,
  definition_hash  bytea not null check (length(definition_hash) = 32),
  reason           text check (length(reason) <= 500),
  at               timestamptz not null,
  primary key (rollout_id, approver, definition_hash)
);
