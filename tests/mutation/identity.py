"""Mutations of people: who signs in, with what, for how long, and what he may then do."""

from tests.mutation.mutation import without as _

LOCKOUT = "src/florin/identity/credentials/lockout.py"
LOGIN = "src/florin/identity/login.py"
FACTOR = "src/florin/identity/credentials/totp.py"
PROOF = "src/florin/identity/reauthentication.py"
SESSION = "src/florin/identity/sessions.py"
LETTER = "src/florin/identity/credentials/email_tokens.py"
ACCOUNT = "src/florin/identity/profile.py"
MEMBER = "src/florin/identity/members.py"
ACCESS = "src/florin/identity/authentication.py"
API_KEY = "src/florin/identity/api_keys.py"
ISSUE = "src/florin/cards/issuing.py"

DOORS = "tests/identity/credentials/test_lockout.py"
SECOND = "tests/identity/test_second_factor.py"
SIGN_IN = "tests/identity/test_sign_in.py"
LETTERS = "tests/identity/credentials/test_email_tokens.py"
MEMBERS = "tests/identity/test_members.py"
UNIFORM = "tests/identity/test_constant_time.py"
WHO_MAY = "tests/journeys/test_permissions.py"

_SIGNING_IN = (
    _("a wrong password is not counted", LOGIN,
      "    if not await lockout.failed(tx, doors):\n", "    if False:\n",
      f"{DOORS}::test_failures_close_the_door_for_a_while"),
    _("a closed door is walked through", LOCKOUT,
      '    if row is not None and row["wait"] is not None:\n', "    if False:\n",
      f"{DOORS}::test_failures_close_the_door_for_a_while"),
    _("of guesses at once all are told", LOCKOUT, "where not ({_CLOSED})\n", "",
      f"{DOORS}::test_of_guesses_at_once_no_more_are_answered"),
    _("a door may stay closed for years", LOCKOUT,
      "least({FIRST_S} * power(2, least(a.failures - a.most, 10)), {LONGEST_S})",
      "least({FIRST_S} * power(2, least(a.failures - a.most, 10)), 31536000)",
      f"{DOORS}::test_the_longest_wait_is_bounded"),
    _("a door closes no longer after more failures", LOCKOUT,
      "{FIRST_S} * power(2, least(a.failures - a.most, 10))", "{FIRST_S}",
      f"{DOORS}::test_failures_close_the_door_for_a_while"),
    _("strangers lock the owner out", LOCKOUT, "    if known:\n", "    if False:\n",
      f"{DOORS}::test_strangers_never_lock_the_owner_out"),
    _("an account may be tried from very many networks", LOCKOUT,
      '        LockoutKey(_subject(pepper, "account", email), ACCOUNT_MOST),\n', "",
      f"{DOORS}::test_an_account_is_guarded_against_many_networks"),
    _("a network may try very many accounts", LOCKOUT,
      '        LockoutKey(_subject(pepper, "network", network), NETWORK_MOST),\n', "",
      f"{DOORS}::test_a_network_is_stopped_whatever_accounts_it_tries"),
    _("nobody's password is not checked", "src/florin/identity/credentials/passwords.py",
      "_verify(password_hash or _NOBODYS, typed)",
      "password_hash is not None and _verify(password_hash, typed)",
      f"{UNIFORM}::test_nobodys_password_is_checked_as_somebodys_is"),
    _("very many passwords are hashed at once", "src/florin/identity/credentials/passwords.py",
      "_THREADS = 2\n", "_THREADS = 12\n",
      f"{UNIFORM}::test_few_run_at_once_and_few_wait"),
    _("any number of passwords wait", "src/florin/identity/credentials/passwords.py",
      "    if _waiting >= _WAITING_MAX:\n", "    if False:\n",
      f"{UNIFORM}::test_few_run_at_once_and_few_wait"),
    _("an answer on a letter leaves as soon as it can", ACCOUNT,
      "    await constant_time.pad(began)\n",
      "",
      f"{UNIFORM}::test_a_letter_to_nobody_takes_as_long"),
    _("the second factor is not asked for", LOGIN,
      '    if found["second_factor"]:\n', "    if False:\n",
      f"{SECOND}::test_it_is_set_up_asked_for_and_turned_off"),
    _("a code of the authenticator is good twice", FACTOR,
      'if step > row["totp_step"] and hmac', "if hmac", f"{SECOND}::test_a_code_is_taken_once"),
    _("any step of the clock will do", FACTOR, "_DRIFT = (0, -1, 1)", "_DRIFT = range(-4, 5)",
      f"{SECOND}::test_clocks_may_differ_a_little"),
    _("a recovery code is good twice", FACTOR,
      "set recovery_hashes = array_remove(recovery_hashes, $3)",
      "set recovery_hashes = recovery_hashes",
      f"{SECOND}::test_a_recovery_code_is_good_once"),
    _("a second factor that is on is confirmed again", FACTOR,
      '        if (row["totp_confirmed_at"] is not None) != confirmed:\n', "        if False:\n",
      f"{SECOND}::test_what_is_on_is_not_confirmed_again"),
    _("codes of the second factor may be guessed", PROOF,
      "    if not await lockout.failed(tx, doors):\n", "    if False:\n",
      f"{SECOND}::test_codes_cannot_be_guessed"),
    _("a right password opens the door to guessing codes", LOCKOUT,
      "_subject(pepper, what, member)", '_subject(pepper, "proof", member)',
      f"{SECOND}::test_a_right_password_does_not_open_the_door_to_codes"),
    _("a challenge outlives the password it was given for", LOGIN,
      "if current is None or state_of(current) != challenged.state:", "if current is None:",
      f"{SECOND}::test_a_challenge_is_for_one_password"),
    _("who owes a second factor may do everything", ACCESS,
      'ROLES[row["role"]] if row["proved"] else _NOTHING', 'ROLES[row["role"]]',
      f"{SECOND}::test_a_role_may_need_it"),
)  # fmt: skip

_SIGNED_IN = (
    _("the reuse of a refresh token goes unnoticed", SESSION,
      "        ended = (\n"
      "            await _end(tx, client.by(merchant, audit_log.NOBODY), session) if row is"
      " None else False\n"
      "        )\n",
      "        ended = False\n", f"{SIGN_IN}::test_a_refresh_token_is_good_once"),
    _("a refresh token is good for ever", SESSION,
      "and current_hash = $3\n  and revoked_at",
      "and $3 in (current_hash, previous_hash)\n  and revoked_at",
      f"{SIGN_IN}::test_a_lost_answer_is_repeated"),
    _("a lost answer is repeated to whoever asks", SESSION,
      "and previous_hash = $3 and client_hash = $4\n",
      "and previous_hash = $3 and $4::bytea is not null\n",
      f"{SIGN_IN}::test_a_lost_answer_is_not_repeated_to_another_program"),
    _("a lost answer is repeated at any time", SESSION,
      "\n  and rotated_at > clock_timestamp() - interval '{REPEAT_S} s'\n", "\n",
      f"{SIGN_IN}::test_a_lost_answer_is_not_repeated_later"),
    _("a sign-in that ended is refreshed", SESSION,
      "  and revoked_at is null and expires_at > clock_timestamp()\nreturning member",
      "returning member", f"{SIGN_IN}::test_register_sign_in_ask_and_sign_out"),
    _("a token outlives its sign-in", ACCESS,
      "\n  and s.revoked_at is null and s.expires_at > clock_timestamp()\n", "\n",
      f"{SIGN_IN}::test_register_sign_in_ask_and_sign_out"),
    _("a revoked key is found", ACCESS,
      "where hash = any($1) and revoked_at is null limit 1", "where hash = any($1) limit 1",
      "tests/identity/api/test_api_keys.py::test_a_key_is_shown_once_and_revoked_everywhere_soon"),
    _("another password leaves the other sign-ins", ACCOUNT,
      "        await sessions.revoke_all(tx, me.merchant, me.member, but=me.session)\n", "",
      f"{SIGN_IN}::test_a_sign_in_ends_everywhere"),
    _("a reset leaves the sign-ins", ACCOUNT,
      "        await sessions.revoke_all(tx, merchant, who)\n", "",
      f"{LETTERS}::test_a_reset_is_good_once_and_ends_every_sign_in"),
    _("a letter is good twice", LETTER,
      "where hash = any($1) and kind = $2 and used_at is null",
      "where hash = any($1) and kind = $2",
      f"{LETTERS}::test_a_reset_is_good_once_and_ends_every_sign_in"),
    _("a letter is good for something else", LETTER,
      "where hash = any($1) and kind = $2", "where hash = any($1) and $2::text is not null",
      f"{LETTERS}::test_a_letter_is_good_for_what_it_says"),
    _("a letter is good for ever", LETTER,
      "and expires_at > clock_timestamp() returning", "returning",
      f"{LETTERS}::test_a_reset_has_an_end"),
    _("an older letter stays good", LETTER,
      "and kind = $3 and used_at is null", "and kind = $3 and false",
      f"{LETTERS}::test_a_reset_is_good_once_and_ends_every_sign_in"),
    _("letters are written without end", ACCOUNT,
      "allowed = await lockout.failed(tx, doors)",
      "allowed = await lockout.failed(tx, doors) or True",
      f"{LETTERS}::test_letters_are_not_sent_without_end"),
    _("an access token lives as long as it says", "src/florin/identity/credentials/jwt.py",
      "if read and read.exp - read.iat == ACCESS_S else None", "if read else None",
      "tests/identity/credentials/test_jwt.py"),
    _("a token is read in more than one spelling", "src/florin/identity/credentials/jwt.py",
      "return read if self._sign(key, msgspec.to_builtins(read)) == token else None",
      "return read", "tests/identity/credentials/test_jwt.py"),
)  # fmt: skip

_ALLOWED = (
    _("a scope that is lacking does not matter", ACCESS,
      "        if scope not in self.scopes:\n", "        if False:\n",
      f"{WHO_MAY}::test_one_scope_less_is_not_enough"),
    _("a key is a person", ACCESS, "        if self.person is None:\n", "        if False:\n",
      f"{WHO_MAY}::test_a_key_is_no_person"),
    _("a role gives more than it has", MEMBER,
      "    if not ROLES[role] <= allowed:\n", "    if False:\n",
      f"{MEMBERS}::test_a_key_raises_nobody_above_itself"),
    _("the last owner leaves", MEMBER,
      '    if was["role"] == "owner" and not await', '    if was["role"] == "" and not await',
      f"{MEMBERS}::test_there_is_always_an_owner"),
    _("owners who remove each other do not wait", MEMBER,
      ' order by id for update",\n', ' order by id",\n',
      f"{MEMBERS}::test_of_two_owners_who_remove_each_other_one_stays"),
    _("a key gives away what it lacks", API_KEY, "    if lacking:\n", "    if False:\n",
      f"{MEMBERS}::test_a_key_makes_no_key_with_more_scopes"),
    _("a key makes one for another place", API_KEY,
      "    if location is not None and want.location != location:\n", "    if False:\n",
      f"{MEMBERS}::test_a_key_makes_no_key_with_more_scopes"),
    _("a key spends anywhere", "src/florin/cards/transactions/spend.py",
      "    if asked.location is not None and given not in {None, asked.location}:\n",
      "    if False:\n", "tests/cards/api/test_locations.py"),
    _("the audit may be rewritten", "src/florin/migrations/0002_expand_people.sql",
      "before update or delete or truncate on audit", "before truncate on audit",
      f"{MEMBERS}::test_the_audit_is_append_only"),
    _("a repeated sale shows a later secret", ISSUE,
      "                if shown.pin is None:\n", "                if False:\n",
      "tests/cards/api/test_idempotency.py::test_a_repeated_sale_never_shows_a_secret_that_came_after_it"),
    _("a repeated rotation shows a later secret", ISSUE,
      "\n  and encode(sha256(c.sealed_code), 'hex') = q.answer->>'sealed' then", " then",
      "tests/cards/api/test_secrets.py::test_a_repetition_shows_its_own_secret_or_none"),
)  # fmt: skip

PEOPLE = (*_SIGNING_IN, *_SIGNED_IN, *_ALLOWED)
