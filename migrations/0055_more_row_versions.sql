-- More of what people change as they saw it (If-Match, 0046): only what people write makes another version of it, not what the server counts in it.
alter table access_role add column version integer not null default nextval('row_version');
create trigger access_role_version before update on access_role
  for each row when ((new.description, new.permissions, new.group_ids)
    is distinct from (old.description, old.permissions, old.group_ids))
  execute function next_row_version();
alter table webhook_endpoint add column version integer not null default nextval('row_version');
create trigger webhook_endpoint_version before update on webhook_endpoint
  for each row when ((new.url, new.description, new.types, new.group_ids)
    is distinct from (old.url, old.description, old.types, old.group_ids))
  execute function next_row_version();
alter table alert_rule add column version integer not null default nextval('row_version');
create trigger alert_rule_version before update on alert_rule
  for each row when ((new.name, new.kinds, new.source, new.min_severity, new.group_ids, new.threshold, new.window_seconds, new.quiet_seconds, new.each, new.channel_ids, new.enabled)
    is distinct from (old.name, old.kinds, old.source, old.min_severity, old.group_ids, old.threshold, old.window_seconds, old.quiet_seconds, old.each, old.channel_ids, old.enabled))
  execute function next_row_version();
alter table est_policy add column version integer not null default nextval('row_version');
create trigger est_policy_version before update on est_policy
  for each row execute function next_row_version();
alter table scep_policy add column version integer not null default nextval('row_version');
create trigger scep_policy_version before update on scep_policy
  for each row execute function next_row_version();
alter table enrollment_profile add column version integer not null default nextval('row_version');
create trigger enrollment_profile_version before update of issuer_series on enrollment_profile
  for each row execute function next_row_version();
