-- How the devices of an enrollment profile renew and speak EST, where an operator has said so.

create table est_policy (
  profile_id           uuid primary key references enrollment_profile (id),
  -- In percent of a certificate's life: when it may be renewed, and over how much of its life a fleet spreads from there.
  opens_percent        int not null check (opens_percent between 0 and 90),
  jitter_percent       int not null check (jitter_percent between 0 and 30),
  -- How long after its end a certificate may still fetch its successor.
  grace_days           int not null check (grace_days between 0 and 3650),
  -- May, must or must not a renewal bring another key?
  renewal_key          text not null check (renewal_key in ('any', 'new', 'same')),
  -- Certificates older than this are renewed out of turn, spread over some hours from that instant.
  renew_issued_before  timestamptz,
  renew_spread_hours   int not null check (renew_spread_hours between 1 and 2160),
  -- CsrAttrs (RFC 8951 §3.2), DER; null answers 204.
  csr_attributes       bytea check (length(csr_attributes) between 2 and 4096),
  channel_binding      text not null check (channel_binding in ('optional', 'required')),
  -- The kind of key that serverkeygen makes; null does not offer it.
  server_key           text,
  changed_at           timestamptz not null
);
