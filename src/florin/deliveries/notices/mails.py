"""Mails: what a notice to a member says."""

from uuid import UUID

import msgspec

from florin.deliveries.content import MessageContent
from florin.deliveries.notices.subscriptions import ABOUT, NoticeAbout
from florin.deliveries.texts import language_of, text_of
from florin.kit import ids
from florin.kit.postgres.database import Row

_TEXTS: dict[str, dict[str, tuple[str, str]]] = {
    "en": {
        "job.finished": (
            "A job has finished: {done} of {total} cards",
            (
                "A job of {merchant} has finished: {done} of {total} cards were done, {refused}"
                " were refused. Its page shows the reasons, and its codes if it made some."
            ),
        ),
        "job.failed": (
            "A job has failed after {done} of {total} cards",
            (
                "A job of {merchant} has failed after {done} of {total} cards. Its page shows the"
                " reason. What was done stays, and the operator of Florin can let it go on."
            ),
        ),
        "delivery.bounced": (
            "A message to a recipient came back",
            (
                "The server of its recipient refused a message of {merchant} about a gift card."
                " Correct the address on the page of the delivery, then send it again."
            ),
        ),
        "webhook_endpoint.disabled": (
            "A webhook endpoint was disabled",
            (
                "Florin delivers nothing to the endpoint {url} of {merchant} any more: {reason}."
                " Enable it on its page once it answers; missed events can be sent again."
            ),
        ),
        "button": ("Open its page", ""),
        "footer": ("You subscribed to this notice; your account at Florin ends it.", ""),
    },
    "de": {
        "job.finished": (
            "Ein Auftrag ist fertig: {done} von {total} Karten",
            (
                "Ein Auftrag von {merchant} ist fertig: {done} von {total} Karten wurden"
                " bearbeitet, {refused} abgelehnt. Seine Seite zeigt die Gründe und"
                " gegebenenfalls die Codes."
            ),
        ),
        "job.failed": (
            "Ein Auftrag ist nach {done} von {total} Karten fehlgeschlagen",
            (
                "Ein Auftrag von {merchant} ist nach {done} von {total} Karten fehlgeschlagen."
                " Seine Seite zeigt den Grund. Was erledigt ist, bleibt; der Betreiber von"
                " Florin kann ihn fortsetzen."
            ),
        ),
        "delivery.bounced": (
            "Eine Nachricht an eine beschenkte Person kam zurück",
            (
                "Der Server der beschenkten Person hat eine Nachricht von {merchant} zu einer"
                " Geschenkkarte abgewiesen. Berichtigen Sie die Adresse auf der Seite der"
                " Zustellung und senden Sie sie erneut."
            ),
        ),
        "webhook_endpoint.disabled": (
            "Ein Webhook-Endpunkt wurde abgeschaltet",
            (
                "Florin liefert nichts mehr an den Endpunkt {url} von {merchant}: {reason}."
                " Schalten Sie ihn auf seiner Seite wieder ein, sobald er antwortet; verpasste"
                " Ereignisse können erneut gesendet werden."
            ),
        ),
        "button": ("Seite öffnen", ""),
        "footer": ("Sie haben diesen Hinweis abonniert; Ihr Konto bei Florin beendet ihn.", ""),
    },
}
_REASONS = {
    "en": {"gone": "it answered 410 Gone", "failing": "no attempt succeeded for five days"},
    "de": {
        "gone": "er antwortete mit 410 Gone",
        "failing": "fünf Tage lang gelang kein Versuch",
    },
}


class StaffNotice(msgspec.Struct, kw_only=True):
    """What a notice is about, as its cause recorded it. `reason`: gone or failing."""

    about: NoticeAbout
    job: UUID | None = None
    done: int = 0
    total: int = 0
    refused: int = 0
    delivery: UUID | None = None
    endpoint: UUID | None = None
    url: str = ""
    reason: str = "failing"

    @property
    def page(self) -> str:
        """The path of what it is about, in the console."""
        if self.job is not None:
            return f"/console/jobs/{ids.show_id('job', self.job)}"
        if self.delivery is not None:
            return f"/console/deliveries/{ids.show_id('dlv', self.delivery)}"
        assert self.endpoint is not None
        return f"/console/webhooks/{ids.show_id('whe', self.endpoint)}"


def read_staff_notice(row: Row) -> StaffNotice | None:
    """The notice of a delivery, if it is one to a member who subscribed to it."""
    if row["kind"] != "notice" or row["member"] is None:
        return None
    if msgspec.json.decode(row["data"])["about"] not in ABOUT:
        return None
    return msgspec.json.decode(row["data"], type=StaffNotice)


def compose_staff_mail(
    row: Row, notice: StaffNotice, *, merchant: str, public_url: str
) -> MessageContent:
    locale: str = row["locale"]
    texts = _TEXTS[language_of(locale)]
    values = {
        "merchant": merchant,
        "done": str(notice.done),
        "total": str(notice.total),
        "refused": str(notice.refused),
        "url": notice.url,
        "reason": _REASONS[language_of(locale)].get(notice.reason, notice.reason),
    }
    heading, intro = (each.format(**values) for each in texts[notice.about])
    return MessageContent(
        locale=locale,
        sender="Florin",
        subject=f"{heading}, {merchant}",
        preview=intro,
        heading=heading,
        button=(texts["button"][0], f"{public_url}{notice.page}"),
        paragraphs=(intro, texts["footer"][0]),
        footer=text_of(locale, "account.footer"),
    )
