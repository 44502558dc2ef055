-- What tickets of TLS sessions are sealed with, the same in all processes: a device resumes at whichever it comes to.
create table tls_ticket_key (
  is_only boolean primary key default true check (is_only),
  version bigint not null,
  wrapped_secret bytea not null,
  made_at timestamptz not null
);
