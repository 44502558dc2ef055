-- Devices that cannot show a certificate yet poll with a token of their own. A weakness, and off unless the server is told otherwise.
create table ddi_token (
  device_id            uuid primary key references device (id) on delete cascade,
  -- SHA-256; the token itself is shown once and kept nowhere.
  hash                 bytea not null unique check (length(hash) = 32),
  -- Also for a device that has a certificate: a person said so.
  despite_certificate  boolean not null,
  created_by           text not null,
  created_at           timestamptz not null,
  -- To the hour.
  last_used_at         timestamptz
);
