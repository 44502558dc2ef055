-- Who is admitted when (rollouts.md §5 and §6): other extents of a phase than a share, and what the bounds count.

alter table rollout
  -- An urgent fix: goes before all others, into the reserve of the bound over all rollouts.
  add column pass_queue boolean not null default false;

alter table rollout_phase alter column percent drop not null;
-- A cohort without a group is a list that was made with the rollout.
alter table rollout_phase add constraint rollout_phase_extent check (case kind
  when 'percent' then percent is not null and count is null and cohort_id is null
  when 'count' then percent is null and count is not null and cohort_id is null
  else percent is null and count is null end);

-- Who was in a phase's group when the rollout started. It does not reference devices, so that it is written at the pace of one
-- statement for any number of them; a device that is gone is never met.
create table rollout_cohort_member (
  rollout_id  uuid not null references rollout (id) on delete cascade,
  phase_no    int not null,
  device_id   uuid not null,
  primary key (rollout_id, phase_no, device_id)
);

-- An offer holds a slot for its first hour.
create index deployment_offered_of on deployment (rollout_id, first_offered_at) where state = 'offered';
create index deployment_offered on deployment (first_offered_at) where state = 'offered';
