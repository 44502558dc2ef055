-- Revocation for third parties: holds, lists in shards with deltas, and the responders that answer OCSP.

alter table certificate
  -- Which part of the authority's list the certificate names as its own (pki.md section 7); null for the whole list.
  add column crl_shard int check (crl_shard between 0 and 255),
  -- The authority's revocation number when this one was last revoked, held or released: what a delta has to tell.
  add column revocation_rev bigint not null default 0,
  -- What it is again after the hold.
  add column held_state text check (held_state in ('issued', 'superseded'));

alter table certificate drop constraint certificate_kind_check;
alter table certificate add constraint certificate_kind_check
  check (kind in ('server', 'device', 'ocsp-responder'));
alter table certificate drop constraint certificate_state_check;
alter table certificate add constraint certificate_state_check
  check (state in ('pending', 'issued', 'superseded', 'held', 'revoked', 'abandoned'));
alter table certificate drop constraint certificate_check1;
alter table certificate add constraint certificate_revoked_at
  check ((state in ('revoked', 'held')) = (revoked_at is not null));
alter table certificate add constraint certificate_held
  check ((state = 'held') = (held_state is not null));

drop index certificate_listed;
create index certificate_listed on certificate (authority_id, not_after)
  where state in ('revoked', 'held', 'abandoned');
create index certificate_changed on certificate (authority_id, revocation_rev) where revocation_rev > 0;

alter table crl
  -- -1: everything the authority took back.
  add column shard int not null default -1 check (shard between -1 and 255),
  add column is_delta boolean not null default false,
  -- Of a full list, the one that deltas beside it refer to; of a delta, the one it refers to.
  add column base_number bigint not null default 0,
  add column base_rev bigint not null default 0,
  add column base_at timestamptz;
-- Lists from before there were deltas are their own base.
update crl set base_number = number, base_rev = covers_rev, base_at = this_update;
alter table crl alter column base_at set not null;
alter table crl drop constraint crl_pkey;
alter table crl add primary key (authority_id, shard, is_delta, number);
