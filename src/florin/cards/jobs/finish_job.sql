-- Finish a job whose cards are all issued, and record its event in the same transaction.
create function finish_job(p_merchant uuid, p_job uuid, p_event uuid)
returns boolean
language plpgsql volatile security definer set search_path from current as $$
begin
  update job j set state = 'finished', finished_at = clock_timestamp()
  where j.merchant = p_merchant and j.id = p_job and j.state <> 'finished' and j.done = j.total;
  if not found then
    return false;
  end if;
  perform begin_money();
  insert into event (merchant, id, type, resource_id, sequence, data, actor, created_at)
  select p_merchant, p_event, 'job.finished', p_job, 1,
    jsonb_build_object('state', 'finished', 'done', j.done - j.refused - j.cancelled), j.actor, clock(p_merchant)
  from job j where j.merchant = p_merchant and j.id = p_job;
  perform notify_staff(p_merchant, 'job.finished', p_job::text, jsonb_build_object('job', j.id,
    'done', j.done - j.refused - j.cancelled, 'total', j.total, 'refused', j.refused))
  from job j where j.merchant = p_merchant and j.id = p_job and j.advance_to is null;
  insert into outbox (topic, merchant, resource_id)
  select 'job.finished', p_merchant, p_event from merchant m where m.id = p_merchant and m.followed;
  return true;
end $$;
