"""Follow: the job that makes deliveries of new events, as it is enqueued."""

from florin.kit.queue.enqueue import NewJob

QUEUE = "webhook-delivery"
FOLLOW = NewJob(queue=QUEUE, kind="follow", dedupe="follow", priority=10)
