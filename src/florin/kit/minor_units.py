"""Minor units: how many decimals an amount of a currency has (ISO 4217).

One table, so that an amount never depends on a locale's habit of leaving decimals out.
"""

_OTHERS = {
    **dict.fromkeys(
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(),  # noqa: SIM905
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}


def decimals(currency: str) -> int:
    """The exponent of the currency: 2 for EUR, 0 for JPY, 3 for KWD."""
    return _OTHERS.get(currency, 2)


def decimal_text(amount: int, currency: str) -> str:
    """An amount in minor units as a decimal number: 1999 EUR is `19.99`, 50 JPY is `50`."""
    places = decimals(currency)
    if places == 0:
        return str(amount)
    sign, digits = ("-" if amount < 0 else ""), f"{abs(amount):0{places + 1}}"
    return f"{sign}{digits[:-places]}.{digits[-places:]}"
