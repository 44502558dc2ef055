-- Lists are read page by page, by id: without this each page sorts all that was ever revoked.
drop index certificate_listed;
create index certificate_listed on certificate (authority_id, id)
  where state in ('revoked', 'held', 'abandoned');
