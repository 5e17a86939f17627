"""Mutations of accounts: how one is made, by which address and password, and at what cost."""

from tests.mutation.mutation import without as _

EMAIL = "src/florin/kit/email_address.py"

EMAILS = "tests/kit/test_email_address.py"
MEMBERS = "tests/identity/test_members.py"

ACCOUNTS = (
    _("an address may end with a line break", EMAIL,
      "+@{_PART}+$(?!\\\\n)", "+@{_PART}+$",
      EMAILS, f"{MEMBERS}::test_an_address_with_a_line_break_is_none"),
    _("an address may hold what nobody sees", EMAIL,
      "\\u200b-\\u200f\\u2028-\\u202e\\u2060\\ufeff]", "]", EMAILS),
    _("two spellings of an address are two accounts", EMAIL,
      'unicodedata.normalize("NFC", address).lower()', "address.lower()", EMAILS),
)  # fmt: skip
