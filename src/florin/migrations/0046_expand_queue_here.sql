-- How many jobs of a queue one worker takes at once: who decides how many workers there should be
-- must know that more of them are needed where each takes few.
alter table queue add column at_once_here integer check (at_once_here >= 1);
