-- What people change, and may want to change only as they saw it (If-Match): a version that no other state of the thing ever had, also not one that was removed
-- and made again. Only what people write makes it another one.
create sequence row_version as integer;
create function next_row_version() returns trigger language plpgsql as $$
begin
  if new is distinct from old then
    new.version := nextval('row_version');
  end if;
  return new;
end $$;

alter table device_group add column version integer not null default nextval('row_version');
create trigger device_group_version before update of name, description, query on device_group
  for each row execute function next_row_version();
alter table model add column version integer not null default nextval('row_version');
create trigger model_version before update of policy on model
  for each row execute function next_row_version();
alter table maintenance_window add column version integer not null default nextval('row_version');
create trigger maintenance_window_version before update of rule on maintenance_window
  for each row execute function next_row_version();
alter table blackout_calendar add column version integer not null default nextval('row_version');
create trigger blackout_calendar_version before update of name, zone, dates on blackout_calendar
  for each row execute function next_row_version();
