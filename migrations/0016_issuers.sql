-- Issuers beside each other, keys in tokens, revoked authorities, keys that are destroyed.

alter table authority
  -- Authorities of one series follow one another. Profiles name a series, so that they follow too.
  add column series text not null default 'default' check (series ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
  -- Where the key is, when it is in a token: an RFC 7512 URI, without a PIN and without the path of a library.
  add column key_uri text check (length(key_uri) between 1 and 1024),
  -- By its root, as the root's list says.
  add column revoked_at timestamptz,
  add column revocation_reason text,
  add column key_destroyed_at timestamptz;
alter table authority
  add constraint authority_series check (series = 'default' or purpose = 'devices'),
  add constraint authority_one_key check (wrapped_key is null or key_uri is null),
  add constraint authority_destroyed check (key_destroyed_at is null or wrapped_key is null);
drop index authority_active;
create unique index authority_active on authority (purpose, series) where state = 'active';

alter table authority_request
  add column series text not null default 'default' check (series ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
  add column key_uri text check (length(key_uri) between 1 and 1024),
  alter column wrapped_key drop not null;
alter table authority_request
  add constraint authority_request_key check ((wrapped_key is null) <> (key_uri is null));

-- Null: the default series.
alter table enrollment_profile add column issuer_series text;

-- How long after a renewal the certificate before is good though nobody used the new one; null: until it ends by itself.
alter table est_policy add column overlap_days int check (overlap_days between 1 and 398);
