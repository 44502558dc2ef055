-- A device may repeat and change its owner's choice as often as it likes; past its hour's share one row stands for the
-- rest, with how many they are and the newest of them. Only such a row is ever changed.
alter table choice_event
  add column omitted int check (omitted > 0);
