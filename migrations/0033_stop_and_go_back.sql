-- When a rollout stops by itself or waits, and who tries again or goes back (rollouts.md §5, §7 and §9).

alter table rollout
  -- What had ended, by phase and kind, when a person last started or resumed it: rules judge only what came after.
  add column base_counts jsonb not null default '{}',
  -- The fleet's usual share of failures at that moment; null where there is nothing to compare with.
  add column usual_failed double precision check (usual_failed > 0 and usual_failed < 1),
  -- Milliseconds that a deployment may stay in a state, where they are not the server's.
  add column limits jsonb not null default '{}';

alter table rollout_phase
  -- Owners that may have put it off or want none of it, in percent of the devices that were met.
  add column max_put_off numeric(6, 3) check (max_put_off between 0 and 100),
  -- After so long with too few executed devices it is a person's turn.
  add column within_s bigint check (within_s > 0),
  -- Since when the gate is met, all but the soak.
  add column met_at timestamptz,
  -- When it was found that too few devices came.
  add column held_at timestamptz;

-- What rules tell apart within a state (`timeout` and `dark` of `lost`, `rejected` of `failed_final`), kept as deployment_count is.
create table deployment_code_count (
  rollout_id  uuid not null references rollout (id) on delete cascade,
  phase_no    int not null,
  kind        text not null check (kind in ('timeout', 'dark', 'rejected')),
  shard       int not null,
  n           int not null,
  primary key (rollout_id, phase_no, kind, shard)
);
insert into deployment_code_count (rollout_id, phase_no, kind, shard, n)
  select rollout_id, phase_no, code, 0, count(*) from deployment
  where state = 'lost' and code in ('timeout', 'dark') group by 1, 2, 3;

-- What ran of the component when the device was admitted: where it can go back to. Null where nothing did or nobody looked.
alter table deployment add column from_build bigint;

-- The release that each device of a rollout back is to get: the one that it had before.
create table rollback_target (
  rollout_id  uuid not null references rollout (id) on delete cascade,
  device_id   uuid not null,
  release_id  uuid not null references release (id),
  primary key (rollout_id, device_id)
);
create index rollback_target_of on rollback_target (device_id);
