"""Following: to which cards the value of some cards was transferred on.

Only transfers after the value was there count: the entries of a card are numbered without gaps, and
their numbers decide, not clocks. Of each card and level there is one row, however many transfers
lead there.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from florin.kit.postgres.database import Tx

FOLLOWED_MAX = 100  # cards, those that the value reached first
LEVELS = 5

_STEP = """
select p.card, sum(p.most)::bigint as most, min(p.since) as since
from (
  select t.credit_card as card, least(sum(t.amount), m.most) as most,
    min(t.credit_sequence) as since, min(t.created_at) as at
  from unnest($2::uuid[], $3::bigint[], $4::bigint[]) as m (card, most, since)
  join florin.transfer t on t.merchant = $1 and t.debit_card = m.card
    and t.debit_sequence > m.since
  where t.debit_card is not null and t.kind = 'transfer' and t.credit_card <> all($5::uuid[])
  group by t.credit_card, m.card, m.most
) p group by p.card order by min(p.at), p.card limit $6
"""


class Value(NamedTuple):
    """Value on a card: at most `most` of its balance, there from its entry `since` on."""

    card: UUID
    most: int
    since: int


async def follow_in(tx: Tx, merchant: UUID, origins: Sequence[Value]) -> list[Value]:
    """The other cards that the value on `origins` may have reached."""
    own = [each.card for each in origins]
    found: dict[UUID, Value] = {}
    reached: list[Value] = list(origins)
    for _ in range(LEVELS):
        if not reached:
            break
        cards = [each.card for each in reached]
        most, since = [each.most for each in reached], [each.since for each in reached]
        rows = await tx.all(_STEP, merchant, cards, most, since, own, FOLLOWED_MAX)
        reached = []
        for row in rows:
            value = Value(row["card"], row["most"], row["since"])
            known = found.get(value.card)
            if known is not None:  # by another way: more of it, or earlier
                most_of = max(known.most, value.most)
                value = Value(value.card, most_of, min(known.since, value.since))
            elif len(found) == FOLLOWED_MAX:
                continue
            if value != known:
                found[value.card] = value
                reached.append(value)
    return list(found.values())
