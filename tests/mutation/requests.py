"""Mutations of request parsing: parameters, numbers and text have one accepted form."""

from tests.mutation.mutation import without as _

QUERY = "src/florin/kit/http/query.py"
FAST = "src/florin/cards/api/fast_routes.py"
PASTED = "src/florin/kit/pasted_text.py"
EXPLANATIONS = "src/florin/kit/http/explanations.py"
EDGE = "src/florin/kit/http/middleware.py"
PATHS = "src/florin/kit/http/paths.py"

BODY = "src/florin/kit/http/body.py"

KEYS = "tests/cards/api/test_idempotency.py"
CODES = "tests/cards/test_codes.py"
MONEY = "tests/cards/api/test_transactions.py"
MESSAGES = "tests/kit/http/test_explanations.py"
ENCODINGS = "tests/kit/http/test_encodings.py"
PLAIN_TEXT = "src/florin/kit/plain_text.py"
TEXTS = "tests/kit/test_plain_text.py"
QUERIES = "tests/kit/http/test_query.py"

_PARAMETERS = (
    _("a fast route ignores its query", FAST, "        refuse_parameters(scope)\n", "",
      f"{QUERIES}::test_every_route_refuses_parameters_it_does_not_know",
      f"{QUERIES}::test_a_query_moves_no_money"),
    _("a route ignores unknown parameters", "src/florin/app.py",
      "            check_query(connection)\n", "            pass\n",
      f"{QUERIES}::test_every_route_refuses_parameters_it_does_not_know"),
    _("a handler's arguments are parameters", "src/florin/kit/http/litestar_adapter.py",
      "name not in {*RESERVED_KWARGS, *in_path}", "name",
      f"{QUERIES}::test_every_route_refuses_parameters_it_does_not_know"),
    _("a fraction is accepted as a whole number", QUERY,
      "    if kind is int and not _WHOLE.fullmatch(value):\n", "    if False:\n",
      f"{QUERIES}::test_numbers_are_whole_decimal_numbers"),
    _("an empty parameter is accepted", QUERY,
      " if value or name not in known]", "]",
      f"{QUERIES}::test_an_empty_parameter_of_a_list_counts_as_left_out"),
    _("an empty control total is ignored", QUERY,
      'empty=scope["method"] == "GET")', "empty=True)",
      f"{QUERIES}::test_an_empty_parameter_of_a_write_is_refused"),
    _("a trailing slash is another address", PATHS,
      'return "/" + "/".join(segments)', 'return "/" + "/".join(segments) + "/"',
      "tests/kit/http/test_paths.py::test_a_path_is_normalized"),
)  # fmt: skip

_KEYS = (
    _("blanks around a key make another key", BODY,
      "    value = value.strip(_HEADER_SPACE) if value else None\n", "",
      f"{KEYS}::test_a_key_is_the_same_in_a_header_and_in_a_batch_item"),
    _("a key in a body may have characters that a header cannot", BODY,
      "not (value.isascii() and value.isprintable())", "False",
      f"{KEYS}::test_keys_that_no_header_could_carry_are_refused_in_a_body_too"),
    _("an empty collection changes the fingerprint", BODY,
      "    canonical = [_canonical(part) for part in parts]\n", "    canonical = parts\n",
      f"{KEYS}::test_an_empty_field_is_the_same_as_a_missing_one"),
)  # fmt: skip

_ENCODINGS = (
    _("a compressed body is accepted", "src/florin/kit/http/head_checks.py",
      '    if b"content-encoding" in names:\n', "    if False:\n",
      f"{ENCODINGS}::test_a_compressed_body_is_refused_with_the_supported_encoding"),
    _("a byte-order mark is refused", BODY,
      "    return body.removeprefix(_BOM)", "    return body",
      f"{ENCODINGS}::test_a_byte_order_mark_is_ignored"),
)  # fmt: skip

_PASTED = (
    _("a code is not normalized", "src/florin/cards/codes.py",
      "compacted(typed).upper() if len(typed) <= _TYPED_MAX",
      "typed.upper() if len(typed) <= _TYPED_MAX",
      f"{CODES}::test_a_pasted_or_scanned_code_is_accepted"),
    _("invisible characters are kept in a code", PASTED,
      "unicodedata.category(symbol) in _FILLING:\n", "symbol.isspace():\n",
      f"{CODES}::test_a_pasted_or_scanned_code_is_accepted"),
    _("full-width characters are not normalized", PASTED,
      'unicodedata.normalize("NFKC", text)', "text",
      f"{CODES}::test_a_pasted_or_scanned_code_is_accepted"),
    _("a PIN is not normalized", "src/florin/cards/pins.py",
      "    pin = compacted(typed)\n", "    pin = typed\n",
      "tests/cards/test_pins.py::test_a_pasted_pin_is_accepted"),
    _("last4 is not normalized", "src/florin/cards/codes.py",
      "ALPHABET[_VALUE[symbol]] if symbol in _VALUE else symbol", "symbol",
      "tests/cards/api/test_list_filters.py::test_last4_is_read_as_codes_are"),
    _("the code of a second factor is not normalized",
      "src/florin/identity/credentials/totp.py",
      "        typed = compacted(typed)\n        if len(typed)", "        if len(typed)",
      "tests/identity/test_second_factor.py::test_codes_are_read_as_people_paste_them"),
)  # fmt: skip

_MESSAGES = (
    _("a message repeats a secret", EXPLANATIONS,
      "if value is NOTHING or _is_secret(param, value) else", "if value is NOTHING else",
      f"{MESSAGES}::test_a_secret_is_not_repeated"),
    _("a message shows a raw pattern", EXPLANATIONS,
      "    match = _EXPECTED.fullmatch(text)\n", "    match = None\n",
      f"{MESSAGES}::test_no_route_shows_a_raw_pattern_or_type"),
    _("an unknown currency has a balance", "src/florin/reports/api.py",
      '        check_currency(currency, param="currency")\n', "        pass\n",
      f"{MESSAGES}::test_an_unknown_currency_has_no_balance"),
    _("a refused transfer always names the paying card", "src/florin/ledger/post.sql",
      "        o_noun[i] := c_id[d]; -- the refusal is about it", "        -- it is to blame",
      f"{MONEY}::test_a_refused_transfer_names_the_card_that_caused_it"),
    _("an unknown card of a transfer is always the paying one", "src/florin/ledger/post.sql",
      "      if c is not null then\n        o_noun", "      if false then\n        o_noun",
      f"{MONEY}::test_a_refused_transfer_names_the_card_that_caused_it"),
)  # fmt: skip

_TEXTS = (
    _("a final line break passes a pattern", PLAIN_TEXT, '{_CONTROL}]*$(?!\\n)"', '{_CONTROL}]*$"',
      f"{TEXTS}::test_control_characters_are_refused_in_any_position"),
    _("plain text is kept as it was spelled", "src/florin/kit/http/body.py",
      "                if kept is not given:\n", "                if False:\n",
      f"{TEXTS}::test_a_request_holds_normalized_text"),
    _("a name gets longer than it may be", PLAIN_TEXT,
      "return normal if len(normal) <= most else text", "return normal",
      f"{TEXTS}::test_text_that_nfc_makes_too_long_is_stored_as_sent"),
)  # fmt: skip

REQUESTS = (*_MESSAGES, *_PASTED, *_TEXTS, *_ENCODINGS, *_PARAMETERS, *_KEYS)
