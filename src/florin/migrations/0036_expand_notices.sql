-- What a member gets mails about (deliveries/notices).
alter table member add column notices text[] not null default '{}';
