-- Groups defined by a query: their members are kept like those of other groups, by the server.

alter table device_group
  -- Text of the query; null for a group whose members people choose.
  add column query text check (length(query) between 1 and 2000),
  -- When all devices are to be looked at again.
  add column evaluate_at timestamptz,
  add column evaluated_at timestamptz,
  add constraint device_group_evaluated check ((query is null) = (evaluate_at is null));
create index device_group_due on device_group (evaluate_at) where query is not null;

-- Where a version stands among others (server/device-query/version.ts): up to eight numbers, then 0 for a pre-release or 1. Null for text
-- that has no such order.
create function version_key(version text) returns bigint[] language sql immutable parallel safe as $$
  select case when part is not null then
    string_to_array(part[1], '.')::bigint[]
      || array_fill(0::bigint, array[8 - cardinality(string_to_array(part[1], '.'))])
      || (part[2] is null)::int::bigint
    end
  from regexp_match(version,
    '^v?([0-9]{1,9}(?:\.[0-9]{1,9}){0,7})(-[0-9A-Za-z.-]{1,64})?(?:\+[0-9A-Za-z.-]{1,64})?$') as part
$$;

-- What questions about devices are answered from. Presence has none: it is written at each connect, and small enough to be read.
create index device_model on device (model);
create index device_state on device (state) where state <> 'active';
create index device_profile on device (enrollment_profile_id);
create index device_hardware on device using gin (hardware_ids);
create index device_attributes on device using gin (attributes jsonb_path_ops);
create index device_installed on device using gin (installed jsonb_path_ops);
create index device_created on device (created_at);
create index certificate_ends on certificate (not_after) where kind = 'device' and state = 'issued';
