-- What a rollout gives out together with its own release, all or nothing: one more release for each other component.

create table rollout_companion (
  rollout_id  uuid not null references rollout (id) on delete cascade,
  release_id  uuid not null references release (id),
  component   text not null,
  primary key (rollout_id, component)
);
create index rollout_companion_release on rollout_companion (release_id);
