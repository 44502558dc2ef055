-- Keys of the update repositories that change: the next key of an online role waits until a root that names it is published, and
-- offline keys may have an ML-DSA half beside the Ed25519 one.

alter table online_key add column next_keyid text;
alter table online_key add column next_public text;
alter table online_key
  add column next_wrapped_key bytea;
alter table online_key add column next_created_at timestamptz;
alter table online_key add constraint online_key_next check (
  (next_keyid is null) = (next_public is null)
  and (next_keyid is null) = (next_wrapped_key is null)
  and (next_keyid is null) = (next_created_at is null));

-- `ed25519`, or the name of an ML-DSA parameter set. Of the latter `public` and `sig` are base64, of the former hex.
alter table release_key add column scheme text not null default 'ed25519';
alter table metadata_signature add column scheme text not null default 'ed25519';
