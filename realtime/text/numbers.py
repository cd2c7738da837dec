"""Numbers in words, for the readings that the normaliser library does not have: digit by digit, English cardinals, ordinals, years."""

from __future__ import annotations

_ZH_DIGITS = str.maketrans("0123456789.", "零一二三四五六七八九点")
_ZH = "零一二三四五六七八九"
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_LARGEST = 10**15


def zh_digits(digits: str, *, is_call: bool = False) -> str:
    """`102` as 一零二; with `is_call` 1 is 幺, as in telephone numbers and codes."""
    spoken = digits.translate(_ZH_DIGITS)
    return spoken.replace("一", "幺") if is_call else spoken


def _zh_below_10000(number: int) -> str:
    """1..9999 in words."""
    spoken = ""
    for scale, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, number = divmod(number, scale)
        if digit:
            spoken += ("两" if digit == 2 and scale >= 100 and not spoken else _ZH[digit]) + name
        elif spoken and number and not spoken.endswith("零"):
            spoken += "零"
    return spoken


def zh_cardinal(number: int) -> str:
    """`12345` as 一万两千三百四十五; below 10**16."""
    if number == 0:
        return "零"
    spoken = ""
    for scale, name in ((10**12, "万亿"), (10**8, "亿"), (10**4, "万"), (1, "")):
        part, number = divmod(number, scale)
        if part:
            gap = "零" if spoken and part < 1000 else ""
            words = "两" if part == 2 and name else _zh_below_10000(part)
            spoken += gap + words + name
    return spoken.removeprefix("一") if spoken.startswith("一十") else spoken


def en_digits(digits: str) -> str:
    """`102` as one zero two."""
    return " ".join(_ONES[int(d)] for d in digits if d.isdecimal())


def en_cardinal(number: int) -> str:
    """Words of a whole number; digit by digit from 10**15 on."""
    if number >= _LARGEST:
        return en_digits(str(number))
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f" {_ONES[ones]}" if ones else "")
    scale, name = next((scale, name) for scale, name in _SCALES if number >= scale)
    head, rest = divmod(number, scale)
    return f"{en_cardinal(head)} {name}" + (f" {en_cardinal(rest)}" if rest else "")


def en_ordinal(number: int) -> str:
    """`22` as twenty second."""
    head, _, last = en_cardinal(number).rpartition(" ")
    if last.endswith("y"):
        last = last[:-1] + "ieth"
    else:
        last = _ORDINALS.get(last, last + "th")
    return f"{head} {last}".strip()


_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50}


def roman(numeral: str) -> int:
    """`XIV` as 14; letters I, V, X, L."""
    values = [_ROMAN[c] for c in numeral]
    return sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))


def en_year(year: int) -> str:
    """`1905` as nineteen oh five, `2005` as two thousand five, `2024` as twenty twenty four."""
    century, rest = divmod(year, 100)
    if year < 1000 or year % 1000 < 10:
        return en_cardinal(year)
    if rest == 0:
        return f"{en_cardinal(century)} hundred"
    return f"{en_cardinal(century)} {'oh ' if rest < 10 else ''}{en_cardinal(rest)}"


def en_decimal(number: str) -> str:
    """`1,234.50` as one thousand two hundred thirty four point five zero."""
    whole, _, fraction = number.replace(",", "").partition(".")
    return en_cardinal(int(whole or "0")) + (f" point {en_digits(fraction)}" if fraction else "")
