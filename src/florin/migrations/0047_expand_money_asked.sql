-- Counts the calls that move money because somebody asked and waits for the answer: a long job that
-- sees the count change does less at a time. A sequence: nobody waits for another to count.
create sequence money_asked;
