-- What a device signed about the end of a deployment (updates.md §4, step 13), and the certificate (SHA-256, lower hex)
-- whose key it was verified with, so that anybody can verify it again.
alter table deployment_event
  add column proof text check (length(proof) <= 8192),
  add column proof_certificate text check (proof_certificate ~ '^[0-9a-f]{64}$'),
  add check ((proof is null) = (proof_certificate is null));
