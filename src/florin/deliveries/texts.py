"""Texts: what messages say, by language. A language without texts reads English, with amounts and
dates in its own form.
"""

TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "gift_card": "Gift card",
        "valid_until": "Valid until {day}",
        "gift.subject": "{amount} for {merchant}",
        "gift.heading_name": "{name}, this is for you",
        "gift.heading": "This is for you",
        "gift.preview": "A gift card for {merchant}. {validity}",
        "gift.button": "Open your card",
        "gift.text": "{merchant}: a gift card of {amount} for you. Open it here, for you alone:",
        "gift.page": (
            "On its page you find the code to show at the till and the balance. The address is"
            " yours alone: anyone who has it can spend the card, so do not pass this message on."
        ),
        "gift.code": "Your code for the till",
        "gift.keep": (
            "On its page you find the balance. Anyone who has the code, or this message, can spend"
            " the card, so keep them to yourself."
        ),
        "gift.attached": "The attached voucher is for printing.",
        "gift.footer": "Sent by {merchant}.",
        "reminder.subject": "{amount} at {merchant} until {day}",
        "reminder.heading": "{amount} are waiting for you",
        "reminder.intro": (
            "Your card for {merchant} that ends in {last4} holds {amount} and expires at the end of"
            " {day}. What is left on it then is lost."
        ),
        "reminder.page": (
            "The message with which you got the card leads to its page, with the code to show at"
            " the till. {merchant} can send it again."
        ),
        "voucher.pin": "PIN {pin}",
        "voucher.qr": "QR code of the card",
        "voucher.barcode": "Barcode of the card",
        "voucher.footer": (
            "Show this page at the till of {merchant}, or type the code in the shop. Anyone who has"
            " the code can spend the card: keep it to yourself."
        ),
        "invitation.subject": "You are invited to {merchant} on Florin",
        "invitation.heading": "Join {merchant}",
        "invitation.intro": (
            "You are invited to work with {merchant} on Florin as {role}. The link to join is"
            " valid for 7 days and can be used once."
        ),
        "invitation.button": "Choose a password",
        "password_reset.subject": "Set a new password for Florin",
        "password_reset.heading": "Set a new password",
        "password_reset.intro": (
            "A new password was requested for {address}. The link to set it is valid for one hour"
            " and can be used once. If you did not ask for it, do nothing: your password stays as"
            " it is."
        ),
        "password_reset.button": "Set a new password",
        "email_verification.subject": "Confirm your e-mail address for Florin",
        "email_verification.heading": "Confirm your e-mail address",
        "email_verification.intro": (
            "{address} was given as your address at {merchant}. The link to confirm it is"
            " valid for 2 days and can be used once."
        ),
        "email_verification.button": "Confirm the address",
        "payment.order": "Order {number}",
        "payment.button": "Open your order",
        "payment.test": "This was a test: no real money moved.",
        "receipt.subject": "Receipt for your order {number} at {merchant}",
        "receipt.heading": "Thank you for your order",
        "receipt.intro": "{merchant} has received your payment of {amount} for order {number}.",
        "receipt.item": "{count} × {name}, {each} each",  # noqa: RUF001 -- typography
        "receipt.top_up": "Top-up of a card, {name}: {each}",
        "receipt.total": "Total: {amount}",
        "receipt.total_by": "Total: {amount}, paid by {gateway}",
        "receipt.vat": "VAT of {rate} included: {vat}",
        "withdrawal.subject": "You have withdrawn from your order {number} at {merchant}",
        "withdrawal.heading": "We have received your withdrawal",
        "withdrawal.intro": (
            "You have withdrawn from your order {number} at {merchant}. The withdrawal was received"
            " on {at}."
        ),
        "withdrawal.refund": (
            "What is unspent, {amount}, is refunded to the means by which you paid, and is no"
            " longer on the cards of the order."
        ),
        "withdrawal.nothing": (
            "Nothing is refunded: what you paid was spent, or refunded before the withdrawal."
        ),
        "refund.subject": "{amount} refunded for your order {number} at {merchant}",
        "refund.heading": "Your refund is on its way",
        "refund.intro": (
            "{merchant} has refunded {amount} of your order {number} to the means by which you"
            " paid."
        ),
        "refund.cards": "What was refunded is no longer on the cards of the order.",
        "refund.when": "Until your bank shows it, five to ten working days may pass.",
        "dispute.opened.subject": "Dispute over {amount}, order {number}",
        "dispute.opened.heading": "A payment is disputed",
        "dispute.chargeback": (
            "The buyer of order {number} at {merchant} disputes the payment of {amount} through the"
            " bank. The gateway withholds the money until the dispute is decided."
        ),
        "dispute.inquiry": (
            "The buyer's bank asks about the payment of {amount} for order {number} at {merchant}."
            " Without an answer this becomes a dispute."
        ),
        "dispute.warning": (
            "The buyer's bank reports the payment of {amount} for order {number} at {merchant} as"
            " fraud. A refund now usually avoids a dispute and its fee."
        ),
        "dispute.blocked": "Cards that are blocked because of it: {cards}.",
        "dispute.answer": "Answer in the dashboard of the gateway by {day}.",
        "dispute.won.subject": "Dispute over {amount} won, order {number}",
        "dispute.won.heading": "The dispute is won",
        "dispute.won.intro": (
            "The dispute over {amount} for order {number} at {merchant} was decided for you: the"
            " gateway returns the money, and the cards are active again."
        ),
        "dispute.lost.subject": "Dispute over {amount} lost, order {number}",
        "dispute.lost.heading": "The dispute is lost",
        "dispute.lost.intro": (
            "The dispute over {amount} for order {number} at {merchant} was decided for the buyer."
            " What was left on the cards was taken back; the rest is booked as a loss."
        ),
        "dispute.closed.subject": "Dispute over {amount} closed, order {number}",
        "dispute.closed.heading": "The dispute is closed",
        "dispute.closed.intro": (
            "The dispute over {amount} for order {number} at {merchant} was closed without a loss:"
            " the cards are active again."
        ),
        "account.footer": "Florin never asks for a password or for the code of a card by e-mail.",
    },
    "de": {
        "gift_card": "Geschenkkarte",
        "valid_until": "Gültig bis {day}",
        "gift.subject": "{amount} für {merchant}",
        "gift.heading_name": "{name}, das ist für Sie",
        "gift.heading": "Das ist für Sie",
        "gift.preview": "Eine Geschenkkarte für {merchant}. {validity}",
        "gift.button": "Karte öffnen",
        "gift.text": "{merchant}: eine Geschenkkarte über {amount} für Sie. Nur für Sie:",
        "gift.page": (
            "Auf ihrer Seite stehen der Code für die Kasse und das Guthaben. Die Adresse gehört nur"
            " Ihnen: Wer sie hat, kann die Karte ausgeben. Leiten Sie diese Nachricht deshalb nicht"
            " weiter."
        ),
        "gift.code": "Ihr Code für die Kasse",
        "gift.keep": (
            "Auf ihrer Seite steht das Guthaben. Wer den Code oder diese Nachricht hat, kann die"
            " Karte ausgeben. Behalten Sie beides deshalb für sich."
        ),
        "gift.attached": "Der angehängte Gutschein ist zum Drucken.",
        "gift.footer": "Gesendet von {merchant}.",
        "reminder.subject": "{amount} bei {merchant} bis {day}",
        "reminder.heading": "{amount} warten auf Sie",
        "reminder.intro": (
            "Ihre Karte für {merchant}, die auf {last4} endet, hat ein Guthaben von {amount} und"
            " läuft am Ende des {day} ab. Was dann noch darauf ist, verfällt."
        ),
        "reminder.page": (
            "Die Nachricht, mit der Sie die Karte bekamen, führt zu ihrer Seite mit dem Code für"
            " die Kasse. {merchant} kann sie erneut senden."
        ),
        "voucher.pin": "PIN {pin}",
        "voucher.qr": "QR-Code der Karte",
        "voucher.barcode": "Strichcode der Karte",
        "voucher.footer": (
            "Zeigen Sie diese Seite an der Kasse von {merchant}, oder geben Sie den Code im Shop"
            " ein. Wer den Code hat, kann die Karte ausgeben: Behalten Sie ihn für sich."
        ),
        "invitation.subject": "Einladung zu {merchant} bei Florin",
        "invitation.heading": "Willkommen bei {merchant}",
        "invitation.intro": (
            "Sie sind eingeladen, mit {merchant} bei Florin als {role} zu arbeiten. Der Link"
            " gilt 7 Tage und nur einmal."
        ),
        "invitation.button": "Passwort wählen",
        "password_reset.subject": "Neues Passwort für Florin",
        "password_reset.heading": "Neues Passwort festlegen",
        "password_reset.intro": (
            "Für {address} wurde ein neues Passwort angefordert. Der Link dafür gilt eine"
            " Stunde und nur einmal. Wenn Sie es nicht angefordert haben, ist"
            " nichts zu tun: Ihr Passwort bleibt, wie es ist."
        ),
        "password_reset.button": "Neues Passwort festlegen",
        "email_verification.subject": "E-Mail-Adresse für Florin bestätigen",
        "email_verification.heading": "E-Mail-Adresse bestätigen",
        "email_verification.intro": (
            "{address} wurde als Ihre Adresse bei {merchant} angegeben. Der Link zur"
            " Bestätigung gilt 2 Tage und nur einmal."
        ),
        "email_verification.button": "Adresse bestätigen",
        "payment.order": "Bestellung {number}",
        "payment.button": "Bestellung öffnen",
        "payment.test": "Das war ein Test: Es floss kein echtes Geld.",
        "receipt.subject": "Beleg für Ihre Bestellung {number} bei {merchant}",
        "receipt.heading": "Vielen Dank für Ihre Bestellung",
        "receipt.intro": "{merchant} hat Ihre Zahlung von {amount} erhalten, Bestellung {number}.",
        "receipt.item": "{count} × {name}, je {each}",  # noqa: RUF001 -- typography
        "receipt.top_up": "Aufladung einer Karte, {name}: {each}",
        "receipt.total": "Summe: {amount}",
        "receipt.total_by": "Summe: {amount}, bezahlt mit {gateway}",
        "receipt.vat": "Darin {rate} Mehrwertsteuer: {vat}",
        "withdrawal.subject": "Widerruf Ihrer Bestellung {number} bei {merchant}",
        "withdrawal.heading": "Ihr Widerruf ist eingegangen",
        "withdrawal.intro": (
            "Sie haben Ihre Bestellung {number} bei {merchant} widerrufen. Der Widerruf ist"
            " eingegangen am {at}."
        ),
        "withdrawal.refund": (
            "Was nicht ausgegeben ist, {amount}, wird auf das Zahlungsmittel erstattet, mit dem Sie"
            " bezahlt haben, und ist nicht mehr auf den Karten der Bestellung."
        ),
        "withdrawal.nothing": (
            "Es wird nichts erstattet: Was Sie bezahlt haben, war ausgegeben oder vor dem Widerruf"
            " erstattet."
        ),
        "refund.subject": "{amount} erstattet, Bestellung {number} bei {merchant}",
        "refund.heading": "Ihre Erstattung ist unterwegs",
        "refund.intro": (
            "{merchant} hat {amount} Ihrer Bestellung {number} auf das Zahlungsmittel erstattet,"
            " mit dem Sie bezahlt haben."
        ),
        "refund.cards": "Was erstattet wurde, ist nicht mehr auf den Karten der Bestellung.",
        "refund.when": "Bis Ihre Bank sie zeigt, können fünf bis zehn Werktage vergehen.",
        "dispute.opened.subject": "Zahlung von {amount} angefochten, Bestellung {number}",
        "dispute.opened.heading": "Eine Zahlung wird angefochten",
        "dispute.chargeback": (
            "Der Käufer der Bestellung {number} bei {merchant} ficht die Zahlung von {amount} über"
            " die Bank an. Bis zur Entscheidung behält der Zahlungsdienst das Geld ein."
        ),
        "dispute.inquiry": (
            "Die Bank des Käufers fragt nach der Zahlung von {amount} für Bestellung {number} bei"
            " {merchant}. Ohne Antwort wird daraus eine Anfechtung."
        ),
        "dispute.warning": (
            "Die Bank des Käufers meldet die Zahlung von {amount} für Bestellung {number} bei"
            " {merchant} als Betrug. Eine Erstattung jetzt vermeidet meist die Anfechtung und ihre"
            " Gebühr."
        ),
        "dispute.blocked": "Deshalb gesperrte Karten: {cards}.",
        "dispute.answer": "Antworten Sie beim Zahlungsdienst bis zum {day}.",
        "dispute.won.subject": "Anfechtung über {amount} gewonnen, Bestellung {number}",
        "dispute.won.heading": "Die Anfechtung ist gewonnen",
        "dispute.won.intro": (
            "Die Anfechtung über {amount} für Bestellung {number} bei {merchant} wurde für Sie"
            " entschieden: Der Zahlungsdienst zahlt das Geld zurück, die Karten sind wieder aktiv."
        ),
        "dispute.lost.subject": "Anfechtung über {amount} verloren, Bestellung {number}",
        "dispute.lost.heading": "Die Anfechtung ist verloren",
        "dispute.lost.intro": (
            "Die Anfechtung über {amount} für Bestellung {number} bei {merchant} wurde für den"
            " Käufer entschieden. Was noch auf den Karten war, wurde zurückgenommen; der Rest ist"
            " als Verlust gebucht."
        ),
        "dispute.closed.subject": "Anfechtung über {amount} beendet, Bestellung {number}",
        "dispute.closed.heading": "Die Anfechtung ist beendet",
        "dispute.closed.intro": (
            "Die Anfechtung über {amount} für Bestellung {number} bei {merchant} wurde ohne Verlust"
            " beendet: Die Karten sind wieder aktiv."
        ),
        "account.footer": "Florin fragt nie per E-Mail nach einem Passwort oder Kartencode.",
    },
}


def text_of(locale: str, key: str, /, **values: str) -> str:
    """The text of a key, with its values, in the language of a tag such as `de-AT`."""
    return TEXTS[language_of(locale)][key].format(**values)


def language_of(locale: str) -> str:
    """The language in which a reader of a tag gets texts."""
    language = locale.partition("-")[0].lower()
    return language if language in TEXTS else "en"
