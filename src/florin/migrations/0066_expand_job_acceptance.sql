-- Whether the amounts of a job were checked against its program's limits when it was accepted. Those
-- of other jobs are checked when their cards are issued.
alter table job add column amounts_accepted boolean not null default false;
