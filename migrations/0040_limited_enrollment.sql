-- What was made by somebody who is limited to groups lets nobody take over the record of a device of others: a device that is known
-- already enrolls with it only if it is in the group of the profile, or was registered in the profile.
alter table enrollment_profile add column limited boolean not null default false;
alter table enrollment_token add column limited boolean not null default false;
