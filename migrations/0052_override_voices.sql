-- Two overrides by two keys of one person were approved by one. Beside each actor stands whose voice it was when it spoke.
alter table update_override
  add column author_voice text,
  add column approver_voices text[] not null default '{}',
  -- Until when others have to have agreed, by the policy of when it was asked for; null: from before, as long as it is open.
  add column approve_until timestamptz;

with known as (
  select 'key:' || id as actor, case when created_by like 'user:%' then created_by else 'user:' || owner_id end as voice from api_key
  union all
  select 'certificate:' || id, case when created_by like 'user:%' then created_by else 'user:' || owner_id end from operator_certificate
  union all
  select 'workload:' || id, created_by from workload_identity where created_by like 'user:%'
)
update update_override set
  author_voice = coalesce((select voice from known where actor = created_by), created_by),
  approver_voices = array(
    select coalesce((select known.voice from known where known.actor = said.actor), said.actor)
    from unnest(approved_by) with ordinality as said (actor, place) order by place);

alter table update_override alter column author_voice set not null;

-- A policy may want more than two.
alter table update_override drop constraint update_override_approved_by_check;
alter table update_override drop constraint update_override_check1;
alter table update_override add constraint update_override_approved_by_check
  check (cardinality(approved_by) <= 5 and cardinality(approver_voices) = cardinality(approved_by));
alter table update_override add constraint update_override_approved_check
  check (approved_at is null or cardinality(approved_by) >= 2);
