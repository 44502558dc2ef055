-- Claim certificates that this installation issues itself.
alter table certificate drop constraint certificate_kind_check;
alter table certificate add constraint certificate_kind_check
  check (kind in ('server', 'device', 'ocsp-responder', 'claim'));
