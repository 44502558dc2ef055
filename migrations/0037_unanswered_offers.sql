-- Who was given an update and did not answer for a day holds no place any longer, and is given it again when it is back
-- (rollouts.md §7): such a row keeps nobody from another one, as a passed step does.
drop index deployment_once;
create unique index deployment_once on deployment (rollout_id, device_id, release_id, coalesce(
  case when (is_step and state in ('succeeded', 'superseded', 'cancelled')) or (state = 'expired' and code = 'unanswered')
    then id end, '00000000-0000-0000-0000-000000000000'));
create index deployment_unanswered on deployment (changed_at) where state = 'queued';
