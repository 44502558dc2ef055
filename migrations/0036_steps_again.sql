-- A step that is behind a device, or was taken back before it was begun, keeps nobody from taking it again: who is not met
-- (`isMet` in server/db/release-fit.ts) may be given what leads on. Everything else is given once.
drop index deployment_once;
create unique index deployment_once on deployment (rollout_id, device_id, release_id, coalesce(
  case when is_step and state in ('succeeded', 'superseded', 'cancelled') then id end, '00000000-0000-0000-0000-000000000000'));
