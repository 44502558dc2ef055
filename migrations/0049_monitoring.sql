-- The owner's other choice, that nothing of what the device says happened to it is stored, stands in the same ledger.
alter table choice_event drop constraint choice_event_choice_check;
alter table choice_event add constraint choice_event_choice_check
  check (choice in ('accept', 'postpone', 'optOut', 'optIn', 'monitorOff', 'monitorOn'));
