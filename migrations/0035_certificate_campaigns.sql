-- Certificates that are renewed in phases, as releases are given out (rollouts.md §2: kind `certificate`): a change of the
-- issuer, or a renewal before its time. Such a rollout has no release; its deployments have the reserved component
-- `fleetseal:certificate`, which no release can have.

alter table rollout
  alter column release_id drop not null,
  -- What a device's certificate is to come from.
  add column certificate_issuer uuid references authority (id),
  -- Certificates made before this are to be renewed.
  add column certificate_before timestamptz,
  add constraint rollout_release check ((kind = 'certificate') = (release_id is null)),
  add constraint rollout_certificate check (
    (kind = 'certificate') = (num_nonnulls(certificate_issuer, certificate_before) > 0));
-- While one of these is not over, a change to that issuer waits for it in its group.
create index rollout_certificate_of on rollout (certificate_issuer, group_id)
  where kind = 'certificate' and state in ('draft', 'approved', 'running', 'paused');

alter table deployment
  alter column release_id drop not null,
  add constraint deployment_release check ((component = 'fleetseal:certificate') = (release_id is null));
-- A device takes part once; null is equal to nothing, so other indexes do not say this.
create unique index deployment_certificate_once on deployment (rollout_id, device_id) where release_id is null;
create index deployment_certificate_open on deployment (id) where release_id is null
  and state not in ('succeeded', 'rolled_back', 'failed_final', 'cancelled', 'superseded', 'expired', 'lost');
