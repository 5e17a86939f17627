"""Mutations of accounts: registration, addresses, passwords and their limits."""

from tests.mutation.mutation import without as _

EMAIL = "src/florin/kit/email_address.py"

PASSWORDS = "src/florin/identity/credentials/passwords.py"
LIMITS = "src/florin/identity/network_limits.py"
LOGIN = "src/florin/identity/login.py"
PROFILE = "src/florin/identity/profile.py"
MEMBER = "src/florin/identity/members.py"
EMAIL_TOKEN = "src/florin/identity/credentials/email_tokens.py"
REGISTER = "src/florin/merchants/registration.py"

COST = "tests/identity/test_network_limits.py"
UNIFORM = "tests/identity/test_constant_time.py"
EMAIL_TOKENS = "tests/identity/credentials/test_email_tokens.py"
EMAILS = "tests/kit/test_email_address.py"
MEMBERS = "tests/identity/test_members.py"

SIGN_UP = "tests/merchants/test_sign_up.py"
ZONES = "tests/merchants/test_time_zones.py"

RULES = "src/florin/identity/credentials/password_rules.py"
WEAK = "tests/identity/credentials/test_password_rules.py"

ACCOUNTS = (
    _("a common password is accepted", RULES,
      "    if plain in _common() or core in _common():\n", "    if False:\n", WEAK),
    _("a common word with digits around it is accepted", RULES,
      "    if plain in _common() or core in _common():\n", "    if plain in _common():\n", WEAK),
    _("a repeated part is accepted as a password", RULES,
      "    if plain in (plain + plain)[1:-1]:", "    if False:", WEAK),
    _("a password change accepts a common password", PROFILE,
      "    check_password(request.password)\n    await prove_password(",
      "    await prove_password(",
      f"{WEAK}::test_every_route_that_sets_a_password_checks_it"),
    _("a password reset accepts a common password", PROFILE,
      "    check_password(request.password)\n    found =", "    found =",
      f"{WEAK}::test_every_route_that_sets_a_password_checks_it"),
    _("closed sign-up accepts registrations", "src/florin/merchants/api.py",
      "    if not settings.signup_open:\n", "    if False:\n",
      f"{SIGN_UP}::test_registration_is_refused_while_sign_up_is_closed"),
    _("sign-up is open in production by default", "src/florin/kit/settings/settings.py",
      '(self.signup is None and self.env != "production")', "self.signup is None",
      "tests/kit/settings/test_settings.py::test_sign_up_is_closed_in_production_by_default"),
    _("an unverified address is accepted", "src/florin/routes.py",
      "    if name in VERIFIED_EMAIL:\n", "    if False:\n",
      f"{SIGN_UP}::test_an_unverified_address_may_not_use_shared_resources"),
    _("a verification takes effect late", "src/florin/identity/api/profile.py",
      "data.token)\n    access.forget(user.id)\n", "data.token)\n",
      f"{SIGN_UP}::test_an_unverified_address_may_not_use_shared_resources"),
    _("a time zone that the database does not know is accepted", "src/florin/kit/time_zones.py",
      "    except asyncpg.InvalidParameterValueError:\n        return False\n",
      "    except asyncpg.InvalidParameterValueError:\n        return True\n",
      f"{ZONES}::test_a_zone_that_only_this_machine_has_is_refused"),
    _("an unknown time zone is accepted", "src/florin/kit/time_zones.py",
      "    if name not in iana_zones():\n", "    if False:\n",
      f"{ZONES}::test_an_unknown_time_zone_is_refused"),
    _("an address may end with a line break", EMAIL,
      "+@{_PART}+$(?!\\\\n)", "+@{_PART}+$",
      EMAILS, f"{MEMBERS}::test_an_address_with_a_line_break_is_refused"),
    _("an address may contain invisible characters", EMAIL,
      "\\u200b-\\u200f\\u2028-\\u202e\\u2060\\ufeff]", "]", EMAILS),
    _("two spellings of an address are two accounts", EMAIL,
      'unicodedata.normalize("NFC", address).lower()', "address.lower()", EMAILS),
    _("checks of passwords wait for new hashes", PASSWORDS,
      "await CHECKING.run(", "await MAKING.run(",
      f"{UNIFORM}::test_checks_and_new_hashes_do_not_wait_for_each_other"),
    _("a password is hashed for a wrong token", PROFILE,
      "    found = await _find_token(identity, client, kind, request.token)\n",
      "    await passwords.make_hash(request.password)\n"
      "    found = await _find_token(identity, client, kind, request.token)\n",
      f"{COST}::test_nothing_is_hashed_for_a_wrong_token"),
    _("the hashes per token are not limited", PROFILE,
      '    await identity.limits.take_of(PASSWORDS_PER_TOKEN, found["id"].hex)\n', "",
      f"{COST}::test_the_hashes_per_token_are_limited"),
    _("wrong tokens are not counted", PROFILE,
      "        await identity.limits.count(WRONG_TOKENS, client.address)\n", "",
      f"{COST}::test_wrong_tokens_are_limited_and_right_ones_are_not"),
    _("a password is hashed for an address that is taken", REGISTER,
      "        await members.require_unknown(identity.database, email)\n", "        pass\n",
      f"{COST}::test_nothing_is_hashed_for_an_address_that_is_taken"),
    _("a password is hashed for an existing member", MEMBER,
      "        await require_unknown(identity.database, email)\n", "        pass\n",
      f"{COST}::test_nothing_is_hashed_for_an_address_that_is_taken"),
    _("sign-ups are not limited", REGISTER,
      "    await identity.limits.take(SIGN_UPS, client.address)\n", "",
      f"{COST}::test_sign_ups_are_limited_by_address_and_network"),
    _("taken addresses do not count more at sign-up", REGISTER,
      "        await identity.limits.count(SIGN_UPS, client.address, times=TAKEN)\n", "",
      f"{COST}::test_sign_ups_are_limited_by_address_and_network"),
    _("sign-ins are not limited", LOGIN,
      "    await identity.limits.take(SIGN_INS, client.address)\n", "",
      f"{COST}::test_sign_ins_of_one_address_are_limited"),
    _("the addresses of a network are counted separately", LIMITS,
      "(self.address, client_network(source)), (self.network, block(source))",
      "(self.address, client_network(source)), (self.network, source)",
      f"{COST}::test_sign_ups_are_limited_by_address_and_network"),
    _("loopback is not counted in production", LIMITS,
      "return self._spare_loopback and is_loopback(source)", "return is_loopback(source)",
      f"{COST}::test_loopback_is_not_counted_in_development"),
    _("several e-mail tokens used at once are accepted", EMAIL_TOKEN,
      "  order by id for update\n", "",
      f"{EMAIL_TOKENS}::test_one_of_several_tokens_used_at_once_is_accepted"),
)  # fmt: skip
