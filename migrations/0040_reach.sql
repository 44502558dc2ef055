-- What was made by somebody who is limited to groups lets nobody take over the record of a device of others: a device that is known
-- already enrolls with it only if it is in the group of the profile, or was registered in the profile.
alter table enrollment_profile add column limited boolean not null default false;
alter table enrollment_token add column limited boolean not null default false;

-- A rollout whose query asks for groups or enrollment profiles by name is not for those who are limited to groups: it tells of others.
-- Of those that are there only the text is known here, so one that has the word anywhere counts.
alter table rollout add column names_groups boolean not null default false;
update rollout set names_groups = true where query ~ '\m(group|enrollmentProfile)\M';
