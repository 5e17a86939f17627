-- Whether the gift mails of a program have the code of the card and its voucher as a PDF, in addition to the link.
alter table program add column code_in_mail boolean not null default false;
