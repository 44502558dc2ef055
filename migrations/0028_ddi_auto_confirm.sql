-- A generic client's owner may agree beforehand to every update that would ask (DDI's auto-confirm).
alter table ddi_device
  add column auto_confirm_at      timestamptz,
  add column auto_confirm_by      text check (length(auto_confirm_by) <= 256),
  add column auto_confirm_remark  text check (length(auto_confirm_remark) <= 512);
