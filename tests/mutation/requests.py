"""Mutations of what every request passes: parameters, numbers and text are read in one way."""

from tests.mutation.mutation import without as _

QUERY = "src/florin/kit/http/query.py"
FAST = "src/florin/cards/api/fast_routes.py"
EDGE = "src/florin/kit/http/middleware.py"
PATHS = "src/florin/kit/http/paths.py"

BODY = "src/florin/kit/http/body.py"

KEYS = "tests/cards/api/test_idempotency.py"
ENCODINGS = "tests/kit/http/test_encodings.py"
QUERIES = "tests/kit/http/test_query.py"

_PARAMETERS = (
    _("a fast route ignores its query", FAST, "        refuse_parameters(scope)\n", "",
      f"{QUERIES}::test_every_route_refuses_parameters_it_does_not_know",
      f"{QUERIES}::test_a_query_moves_no_money"),
    _("a route ignores unknown parameters", "src/florin/app.py",
      "        check_query(asked)\n", "",
      f"{QUERIES}::test_every_route_refuses_parameters_it_does_not_know"),
    _("a handler's arguments are parameters", "src/florin/kit/http/litestar_adapter.py",
      "name not in {*RESERVED_KWARGS, *in_path}", "name",
      f"{QUERIES}::test_every_route_refuses_parameters_it_does_not_know"),
    _("a number with a fraction is a number", QUERY,
      "    if kind is int and not _WHOLE.fullmatch(value):\n", "    if False:\n",
      f"{QUERIES}::test_numbers_are_whole_decimal_numbers"),
    _("an empty parameter is a value", QUERY,
      " if value or name not in known]", "]",
      f"{QUERIES}::test_an_empty_parameter_of_a_list_counts_as_left_out"),
    _("an empty control total is none", QUERY,
      'empty=scope["method"] == "GET")', "empty=True)",
      f"{QUERIES}::test_an_empty_parameter_of_a_write_is_refused"),
    _("a slash at the end is another address", PATHS,
      'return "/" + "/".join(segments)', 'return "/" + "/".join(segments) + "/"',
      f"{QUERIES}::test_a_trailing_slash_is_ignored_everywhere"),
)  # fmt: skip

_KEYS = (
    _("spaces around a key make another key", BODY,
      "    value = value.strip(_HEADER_SPACE) if value else None\n", "",
      f"{KEYS}::test_a_key_is_one_wherever_it_is_spelled"),
    _("a key of a body may be what no header can carry", BODY,
      "not (value.isascii() and value.isprintable())", "False",
      f"{KEYS}::test_keys_that_no_header_could_carry_are_refused_in_a_body_too"),
    _("an empty collection makes another request", BODY,
      "    stated = [_stated(part) for part in parts]\n", "    stated = parts\n",
      f"{KEYS}::test_what_is_empty_counts_as_left_out"),
)  # fmt: skip

_ENCODINGS = (
    _("a compressed body is read", EDGE,
      '    if b"content-encoding" in names:\n', "    if False:\n",
      f"{ENCODINGS}::test_a_compressed_body_is_refused_with_what_is_supported"),
    _("a byte-order mark is no JSON", BODY,
      "    body = body.removeprefix(_BOM)", "    body = bytes(body)",
      f"{ENCODINGS}::test_a_byte_order_mark_is_ignored"),
)  # fmt: skip

REQUESTS = (*_ENCODINGS, *_PARAMETERS, *_KEYS)
