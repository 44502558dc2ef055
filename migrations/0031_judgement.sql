-- Steps on the way to a release that may not be installed from every build (rollouts.md §11), and what lets a device that
-- failed take part again before its time.

alter table deployment
  -- Of a release that only leads to the rollout's own. A step that is behind a device is in no count: the device counts once.
  add column is_step boolean not null default false,
  drop constraint deployment_rollout_id_device_id_key;
create index deployment_steps on deployment (release_id) where is_step;
create unique index deployment_once on deployment (rollout_id, device_id, release_id);

-- A person's word that what a device did until then is forgiven (rollouts.md §7).
create table device_penalty_lift (
  device_id            uuid primary key references device (id),
  -- Failures and tries until then do not count.
  lifted_at            timestamptz not null,
  -- Builds that it rolled back from until then may be offered to it again; null: none.
  rolled_back_until    timestamptz,
  lifted_by            text not null,
  reason               text not null check (length(reason) between 1 and 500)
);
