"""Worker: every queue, kind of job and schedule, and the process `florin worker`."""

import sys
from functools import partial

from florin.cards.jobs import expiry, retention
from florin.cards.jobs.batch_change import BatchChanger
from florin.cards.jobs.bulk_issue import BulkIssuer
from florin.cards.jobs.import_cards import CardImporter
from florin.cards.page_facts import open_voucher
from florin.deliveries import account_mails, reminders, schedule
from florin.deliveries.attempts.sending import DeliverySender
from florin.deliveries.notices.failed_jobs import notify_of_failed_jobs
from florin.identity import audit_seals, jobs
from florin.identity.credentials.email_tokens import EmailTokens
from florin.kit.encryption import Sealer
from florin.kit.observability.telemetry import process_telemetry
from florin.kit.postgres.database import Database
from florin.kit.queue import main as process
from florin.kit.queue.config import JobType, QueueConfig, Schedule, WorkPlan
from florin.kit.queue.job import Continue, QueuedJob
from florin.kit.settings import Settings
from florin.kit.settings.startup import settings_of_process
from florin.orders import jobs as orders
from florin.orders.bulk.fulfilment import fulfil_bulk_order
from florin.orders.services import OrderServices
from florin.orders.settlement import FLORIN
from florin.payments.catch_up import catch_up_with_account, catch_up_with_gateways
from florin.test_clock.advance import advance_clock
from florin.test_clock.due_work import DELIVERIES, EXPIRY, DueWork
from florin.webhooks import jobs as webhook_jobs
from florin.webhooks.addresses import AddressRules
from florin.webhooks.lane import WebhookSender, deliver_lane
from florin.webhooks.settled import webhooks_are_settled

ONE = "job"  # florin worker job ID FENCE: one job in a process of its own


class WorkerServices:
    """The dependencies of the job functions."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        sealer = Sealer(*settings.key_ring("seal_key"))
        self.bulk = BulkIssuer(database, settings.code_pepper.get_secret_value(), sealer)
        self.selling = OrderServices.of(settings, database, sealer)
        self.imports = CardImporter(database, settings.key_ring("code_pepper"), sealer)
        self.sealer = sealer
        self.email_tokens = EmailTokens(sealer=sealer, peppers=())
        peppers = settings.key_ring("code_pepper")
        vouchers = partial(open_voucher, database, self.selling.links, peppers)
        self.deliveries = DeliverySender(settings, sealer, vouchers)
        self.batches = BatchChanger(database)
        allowed = AddressRules.of(settings.env, settings.webhook_allow)
        self.webhooks = WebhookSender(database, sealer, allowed)


async def _issue(job: QueuedJob, parts: WorkerServices) -> Continue | None:
    return await parts.bulk.issue(job)


async def _import(job: QueuedJob, parts: WorkerServices) -> Continue | None:
    return await parts.imports.run(job)


async def _change(job: QueuedJob, parts: WorkerServices) -> Continue | None:
    return await parts.batches.run(job)


async def _fulfil_bulk_order(job: QueuedJob, parts: WorkerServices) -> Continue | None:
    return await fulfil_bulk_order(job, parts.selling.fulfilment, FLORIN)


async def _sweep(job: QueuedJob, _parts: WorkerServices) -> Continue | None:
    return await expiry.find_due_merchants(job)


async def _expire(job: QueuedJob, parts: WorkerServices) -> Continue | None:
    return await expiry.expire_merchant(job, parts.database)


async def _lapse(job: QueuedJob, _parts: WorkerServices) -> Continue | None:
    return await expiry.expire_returned_money(job)


async def _erase_codes(job: QueuedJob, _parts: WorkerServices) -> Continue | None:
    return await retention.erase_codes(job)


async def _erase_sheets(job: QueuedJob, _parts: WorkerServices) -> None:
    await retention.erase_code_exports(job)


async def _forget_keys(job: QueuedJob, parts: WorkerServices) -> Continue | None:
    return await retention.forget_keys(job, days=parts.settings.keys_kept_days)


async def _seal_audit(job: QueuedJob, _parts: WorkerServices) -> Continue | None:
    return await audit_seals.seal_records(job)


async def _send_delivery(job: QueuedJob, parts: WorkerServices) -> Continue | None:
    return await parts.deliveries.send(job)


async def _prepare_account_mail(job: QueuedJob, parts: WorkerServices) -> None:
    await account_mails.prepare_account_mail(job, parts.email_tokens, parts.sealer)


async def _send_due_deliveries(job: QueuedJob, _parts: WorkerServices) -> Continue | None:
    await notify_of_failed_jobs(job)
    return await schedule.send_due_deliveries(job)


async def _remind(job: QueuedJob, parts: WorkerServices) -> Continue | None:
    return await reminders.remind_recipients(job, parts.sealer)


async def _erase_secrets(job: QueuedJob, _parts: WorkerServices) -> Continue | None:
    return await schedule.erase_secrets(job)


async def _advance(job: QueuedJob, parts: WorkerServices) -> Continue | None:
    return await advance_clock(job, parts.database, DUE_WORK)


async def _follow(job: QueuedJob, _parts: WorkerServices) -> Continue | None:
    return await webhook_jobs.follow_events(job)


async def _start_following(job: QueuedJob, _parts: WorkerServices) -> None:
    await webhook_jobs.start_following(job)


async def _deliver_lane(job: QueuedJob, parts: WorkerServices) -> Continue | None:
    return await deliver_lane(job, parts.webhooks)


async def _delete_deliveries(job: QueuedJob, _parts: WorkerServices) -> Continue | None:
    return await webhook_jobs.delete_old_deliveries(job)


async def _prune(job: QueuedJob, _parts: WorkerServices) -> None:
    async with job.effect(last=True) as tx:
        await tx.run("select queue_prune()")


async def _cleanup(job: QueuedJob, parts: WorkerServices) -> Continue | None:
    while not job.stopping:  # a concurrent job deletes other rows
        if not await jobs.delete_expired_rows(parts.database):
            return None
    return Continue()


async def _look(job: QueuedJob, parts: WorkerServices) -> None:
    await orders.look_at_payment(job, parts.selling.looker)


async def _refund(job: QueuedJob, parts: WorkerServices) -> None:
    await orders.send_refund(job, parts.selling.looker)


async def _due(job: QueuedJob, parts: WorkerServices) -> Continue | None:
    return await orders.find_due(job, parts.database)


async def _catch_up(job: QueuedJob, parts: WorkerServices) -> None:
    await catch_up_with_gateways(job, parts.database, parts.selling.gateways)


async def _account_events(job: QueuedJob, parts: WorkerServices) -> None:
    await catch_up_with_account(job, parts.database, parts.selling.gateways)


DUE_WORK = (EXPIRY, DELIVERIES, DueWork(is_settled=webhooks_are_settled))  # of time alone, in order

SENDING_SLOTS = 16  # messages at once, and so connections of a worker to the mail server

# The most important first. Queues without kinds are reserved for planned deliveries.
PLAN = WorkPlan(
    queues=(
        QueueConfig(
            name="payments",
            importance=5,
            objective_s=60,
            attempts=8,
            timeout_s=60,
            kinds={
                "look": JobType(run=_look),
                "refund": JobType(run=_refund),
                "due": JobType(run=_due),
                "catch-up": JobType(run=_catch_up),
                "account-events": JobType(run=_account_events),
            },
        ),
        QueueConfig(
            name="email-delivery",
            importance=10,
            objective_s=60,
            attempts=8,
            own_slots=SENDING_SLOTS,
            kinds={
                "send": JobType(run=_send_delivery),
                "account": JobType(run=_prepare_account_mail),
            },
        ),
        QueueConfig(
            name="sms-delivery",
            importance=11,
            objective_s=60,
            own_slots=SENDING_SLOTS,
            kinds={"send": JobType(run=_send_delivery)},
        ),
        QueueConfig(
            name="webhook-delivery",
            importance=20,
            objective_s=60,
            timeout_s=700,
            kinds={
                "follow": JobType(run=_follow),
                "start": JobType(run=_start_following),
                "deliver": JobType(run=_deliver_lane),
            },
        ),
        QueueConfig(
            name="scheduled-delivery",
            importance=21,
            objective_s=60,
            kinds={"sweep": JobType(run=_send_due_deliveries)},
        ),
        QueueConfig(
            name="gift-card-expiry",
            importance=30,
            objective_s=60,
            timeout_s=120,
            max_running=4,
            max_running_per_worker=2,
            kinds={
                "sweep": JobType(run=_sweep),
                "expire": JobType(run=_expire),
                "lapse": JobType(run=_lapse),
            },
        ),
        QueueConfig(
            name="expiry-reminders",
            importance=40,
            objective_s=600,
            timeout_s=300,
            kinds={"find": JobType(run=_remind)},
        ),
        QueueConfig(
            name="bulk",
            importance=50,
            timeout_s=120,
            max_running=4,
            max_running_per_worker=2,
            max_running_per_merchant=2,
            kinds={
                "issue": JobType(run=_issue),
                "import": JobType(run=_import),
                "change": JobType(run=_change),
                "order": JobType(run=_fulfil_bulk_order),
                "advance": JobType(run=_advance),
            },
        ),
        QueueConfig(name="cleanup-tokens", importance=60, kinds={"cleanup": JobType(run=_cleanup)}),
        QueueConfig(
            name="retention",
            importance=70,
            timeout_s=3600,
            max_running_per_worker=1,
            kinds={
                "codes": JobType(run=_erase_codes),
                "sheets": JobType(run=_erase_sheets),
                "keys": JobType(run=_forget_keys),
                "queue": JobType(run=_prune),
                "seal": JobType(run=_seal_audit),
                "secrets": JobType(run=_erase_secrets),
                "webhooks": JobType(run=_delete_deliveries),
            },
        ),
    ),
    schedules=(
        Schedule(name="expiry", cron="* * * * *", queue="gift-card-expiry", kind="sweep"),
        Schedule(name="gateways", cron="*/5 * * * *", queue="payments", kind="catch-up"),
        Schedule(name="payments", cron="* * * * *", queue="payments", kind="due"),
        Schedule(name="deliveries", cron="* * * * *", queue="scheduled-delivery", kind="sweep"),
        Schedule(name="reminders", cron="7 * * * *", queue="expiry-reminders", kind="find"),
        Schedule(name="secrets", cron="29 * * * *", queue="retention", kind="secrets"),
        Schedule(name="tokens", cron="17 * * * *", queue="cleanup-tokens", kind="cleanup"),
        Schedule(name="codes", cron="*/10 * * * *", queue="retention", kind="codes"),
        Schedule(name="sheets", cron="41 4 * * *", queue="retention", kind="sheets"),
        Schedule(name="keys", cron="23 3 * * *", queue="retention", kind="keys"),
        Schedule(name="audit", cron="* * * * *", queue="retention", kind="seal"),
        Schedule(name="webhooks", cron="* * * * *", queue="webhook-delivery", kind="start"),
        Schedule(name="webhook-log", cron="11 * * * *", queue="retention", kind="webhooks"),
        Schedule(name="queue", cron="*/15 * * * *", queue="retention", kind="queue"),
    ),
)


def main(concurrency: int = 5, one: tuple[int, int] | None = None) -> int:
    """Serve `florin worker`: one process, configured by the environment; return the exit code.

    `one` is a job and its fence: a worker started this process to run that job in isolation.
    """
    settings = settings_of_process()
    if settings is None:
        return 2
    with process_telemetry(settings):
        if one is not None:
            return process.serve_one_job(settings, PLAN, WorkerServices, job=one[0], fence=one[1])
        return process.serve_worker(
            settings,
            PLAN,
            WorkerServices,
            concurrency=concurrency,
            command=[sys.executable, "-P", "-m", "florin", "worker", ONE],
        )
