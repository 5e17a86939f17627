"""Mutations of the event stream: it is complete and shows only the merchant's own events."""

from tests.mutation.mutation import without as _

LIVE = "src/florin/events/stream.py"
STREAM = "tests/events/test_stream.py"

EVENTS = (
    _("the stream skips transactions that still run", LIVE,
      'until: datetime = row["began"] if running else row["now"]',
      'until: datetime = row["now"]',
      f"{STREAM}::test_events_of_a_long_transaction_are_not_skipped"),
    _("the stream does not wait for a rotation that runs", "src/florin/ledger/issue.sql",
      "begin\n  perform begin_money();\n  insert", "begin\n  insert",
      "tests/ledger/test_database_constraints.py::test_everything_that_dates_an_event_holds_the_lock_of_a_running_transaction"),
    _("all events of a call have the same time", "src/florin/ledger/post.sql",
      "        u.at + (ticks + 2 * u.i) * microsecond\n", "        u.at\n",
      f"{STREAM}::test_the_events_of_a_card_are_streamed_in_sequence"),
    _("a stream whose client does not read stays open", "src/florin/kit/http/sse.py",
      "async with asyncio.timeout(within_s):", "async with asyncio.timeout(None):",
      "tests/kit/http/test_sse.py::test_a_client_that_does_not_read_is_disconnected"),
    _("a stream continues after its key is revoked", LIVE,
      '                    (await self._access.caller(authorization)).needs("events:read")\n', "",
      f"{STREAM}::test_a_revoked_key_ends_its_stream"),
    _("a reconnecting client starts at the latest event", LIVE,
      "                after = position\n",
      "                after = ((await self._settled(merchant))[0], _BEFORE_ALL)\n",
      f"{STREAM}::test_a_client_reconnects_and_misses_no_event"),
    _("a stream outlives its instance", "src/florin/kit/http/sse.py",
      "asyncio.ensure_future(drain.announced.wait())",
      "asyncio.ensure_future(asyncio.Event().wait())",
      f"{STREAM}::test_an_instance_that_stops_ends_its_streams"),
    _("one merchant may have all streams", LIVE,
      "if self._streams[merchant] >= most:", "if False:",
      f"{STREAM}::test_one_merchant_does_not_take_all_streams"),
)  # fmt: skip
