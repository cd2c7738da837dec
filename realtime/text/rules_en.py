"""English pre-pass: words for what `wetext` (0.1.8) misreads or fails on. In order; earlier rules see the text first.

Conventions: American dates and money ("three dollars and fifty cents"), telephone numbers and codes digit by digit with zero,
numbers without "and".
"""

from __future__ import annotations

import re

from realtime.text.numbers import en_cardinal, en_decimal, en_digits, en_ordinal, en_year, roman
from realtime.text.rules import COMMON, HOST, MAIL, THOUSANDS, Rule, rule
from realtime.text.tables_en import CURRENCIES, FRACTIONS, LEADING, MONTH, MONTHS, SCALES, SHORT, SYMBOLS, TITLES, UNITS

_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_UNIT = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
_CODES = (
    r"(?i:PIN|code|number|account|order|invoice|ticket|reference|ref|ID|zip|extension|ext|password|serial"
    r"|card ending in|ending in|card number)"
)
_NUMBERED = r"(?:War|Chapter|Part|Volume|Act|Phase|Type|Stage|Class|Section|Book|Scene|Level|Article|Appendix|Bowl)"
_RULERS = r"(?:Henry|Louis|Elizabeth|George|Charles|Edward|Richard|James|Philip|William|Francis|Pius|Benedict|Alexander|Nicholas)"


def _amount(number: str, one: str, many: str) -> str:
    return f"{en_decimal(number)} {one if number in ('1', '1.0') else many}"


def _money(match: re.Match[str]) -> str:
    one, many, cent, cents = CURRENCIES[match.group(1)]
    number, scale = match.group(2).replace(",", ""), match.group(3)
    if scale:
        return f"{en_decimal(number)} {SCALES.get(scale, scale)} {many}"
    whole, _, fraction = number.partition(".")
    if len(fraction) != 2 or not cent:
        return _amount(number.rstrip("0").rstrip(".") if fraction else number, one, many)
    parts = [_amount(whole, one, many)] if int(whole) or not int(fraction) else []
    if int(fraction):
        parts.append(_amount(str(int(fraction)), cent, cents))
    return " and ".join(parts)


def _month_name(short: str) -> str:
    return next(name for name in MONTHS if name.startswith(short[:3]))


def _month_day(match: re.Match[str]) -> str | None:
    day, year = int(match.group(2)), match.group(3)
    if not 1 <= day <= 31:
        return None
    return f"{_month_name(match.group(1))} {en_ordinal(day)}" + (f", {en_year(int(year))}" if year else "")


def _day_month(match: re.Match[str]) -> str:
    day, year = int(match.group(1)), match.group(3)
    return f"{_month_name(match.group(2))} {en_ordinal(day)}" + (f", {en_year(int(year))}" if year else "")


def _date(year: str, month: str, day: str) -> str | None:
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return None
    return f"{MONTHS[int(month) - 1]} {en_ordinal(int(day))}, {en_year(int(year))}"


def _digit_groups(match: re.Match[str]) -> str:
    return ", ".join(en_digits(part) for part in re.findall(r"\d+", match.group()))


def _phone(match: re.Match[str]) -> str:
    return ("plus " if match.group().startswith("+") else "") + _digit_groups(match)


def _clock(match: re.Match[str]) -> str | None:
    hour, minute, half = int(match.group(1)), match.group(2), match.group(3)
    if hour > 24:
        return None
    suffix = f" {half[0].upper()} M" if half else ""
    if half and half.endswith(".") and match.end() == len(match.string):
        suffix += "."
    if minute is None or minute == "00":
        oclock = en_cardinal(hour) if suffix or not 1 <= hour <= 12 else f"{en_cardinal(hour)} o'clock"
        return (oclock if hour <= 12 else f"{en_cardinal(hour)} hundred") + suffix
    minutes = en_cardinal(int(minute)) if int(minute) > 9 else f"oh {en_cardinal(int(minute))}"
    return f"{en_cardinal(hour)} {minutes}{suffix}"


def _version(match: re.Match[str]) -> str:
    words = " point ".join(en_cardinal(int(part)) for part in match.group(2).split("."))
    return f"{'version' if match.group(1).lower() == 'v' else match.group(1).rstrip()} {words}"


def _dots(match: re.Match[str]) -> str:
    return " dot ".join(en_digits(part) if len(part) > 2 else en_cardinal(int(part)) for part in match.group().split("."))


def _letters_digits(match: re.Match[str]) -> str:
    """`GPT-4` as GPT four, `ABC-1234` digit by digit."""
    letters, digits = match.group(1), match.group(2)
    return f"{letters} {en_digits(digits) if len(digits) > 2 or digits[0] == '0' else en_cardinal(int(digits))}"


def _decade(match: re.Match[str]) -> str:
    word = en_cardinal(int(match.group(2)))
    plural = word[:-1] + "ies" if word.endswith("y") else word + "s"
    return f"{en_cardinal(int(match.group(1)))} {plural}" if match.group(1) else plural


def _measure(match: re.Match[str]) -> str:
    number, unit = match.group(2), UNITS[match.group(3)]
    if number == "1":
        first, _, rest = unit.partition(" ")
        first = {"feet": "foot", "inches": "inch", "hertz": "hertz"}.get(first, first.removesuffix("s"))
        unit = f"{first} {rest}".rstrip()
    return f"{'minus ' if match.group(1) else ''}{en_decimal(number)} {unit}"


def _address(text: str) -> str:
    words = text.replace(".", " dot ").replace("_", " underscore ").replace("-", " dash ").replace("+", " plus ").replace("@", " at ")
    return re.sub(r" {2,}", " ", re.sub(r"\d+", lambda m: f" {en_digits(m.group())} ", words)).strip()


def _years(match: re.Match[str]) -> str:
    return f"{en_year(int(match.group(1)))} to {en_year(int(match.group(2)))}"


def _short(match: re.Match[str]) -> str:
    """In full; at the text's end the dot is also the full stop."""
    is_last = match.group().endswith(".") and match.end() == len(match.string)
    return SHORT[match.group()] + ("." if is_last else "")


def _duration(match: re.Match[str]) -> str:
    hours, minutes, seconds = (int(part) for part in match.groups())
    parts = (_amount(str(hours), "hour", "hours"), _amount(str(minutes), "minute", "minutes"), _amount(str(seconds), "second", "seconds"))
    return f"{parts[0]}, {parts[1]} and {parts[2]}"


def _price_range(match: re.Match[str]) -> str:
    return f"{en_decimal(match.group(2))} to {en_decimal(match.group(3))} {CURRENCIES[match.group(1)][1]}"


def _scientific(match: re.Match[str]) -> str:
    sign = "minus " if match.group(2) == "-" else ""
    return f"{en_decimal(match.group(1))} times ten to the {sign}{en_cardinal(int(match.group(3)))}"


def _integer(match: re.Match[str]) -> str:
    return en_cardinal(int(match.group(1)))


def _scaled(match: re.Match[str]) -> str:
    return f"{en_decimal(match.group(1))} {SCALES[match.group(2)]}"


def _symbol(match: re.Match[str]) -> str:
    return f" {SYMBOLS[match.group(1)]} "


RULES: tuple[Rule, ...] = (
    *COMMON,
    rule("e-mail", MAIL, lambda m: _address(m.group())),
    rule("host", HOST, lambda m: _address(m.group(1).removeprefix("www."))),
    rule(
        "titles",
        r"(?<![A-Za-z.])(Dr|Mr|Mrs|Ms|Prof|Gen|Sen|Rep|Gov|Capt|Lt|Col|Sgt|Rev|Hon|St|Mt|Ft)\.\s(?=[A-Z])",
        lambda m: TITLES[m.group(1)] + " ",
    ),
    rule(
        "street",
        r"(?<=[a-z])\s(St|Ave|Rd|Blvd)\.(?!\w)",
        lambda m: " " + {"St": "Street", "Ave": "Avenue", "Rd": "Road", "Blvd": "Boulevard"}[m.group(1)],
    ),
    rule("doctors", r"(?<![A-Za-z.])(Mr|Mrs|Ms|Dr)\.?(?=\s[A-Z])", lambda m: TITLES[m.group(1)]),
    rule(
        "abbreviations",
        r"(?<![A-Za-z.])(?:e\.g\.|i\.e\.|etc\.|vs\.?|approx\.|Inc\.|Ltd\.|Co\.|Corp\.|Jr\.|Sr\.|dept\.|a\.k\.a\.|Ph\.D\.|w/o?)(?![A-Za-z])",
        _short,
    ),
    rule("number sign", r"(?<![A-Za-z])(?:No|Nos)\.\s?(?=\d)|(?<![\w#])#(?=\d)", lambda _: "number "),
    rule("around the clock", r"(?<!\d)24/7(?!\d)", lambda _: "twenty four seven"),
    rule(
        "emergency",
        r"(?<![\d.,$£€-])(911|112|999)(?![\d.,:%-]\d|\w|\s(?:people|dollars|miles))",
        lambda m: "nine one one" if m.group() == "911" else en_digits(m.group()),
    ),
    rule("or more", r"(?<=\d)\+(?=\s|[.,;!?]|$)", lambda _: " plus"),
    rule(
        "per",
        r"(?<=[\w.])\s?/\s?(?=(?:month|year|week|day|hour|minute|second|person|user|night|seat|head|unit|item|piece|gallon|pound|mile|token|request)(?![A-Za-z]))",
        lambda _: " per ",
    ),
    rule("telephone", r"(?<![\d.,-])(?:\+\d{1,3}[ .-]?)?(?:1[ .-])?(?:\(\d{3}\)\s?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\d-])", _phone),
    rule("international number", r"(?<![\d.,])\+\d{1,3}(?:[ -]?\d{2,4}){2,5}(?!\d)", _phone),
    rule("local number", r"(?<![\d.,$-])\d{3}-\d{4}(?![\d-])", _phone),
    rule("ISO date", r"(?<![\d-])((?:1[5-9]|20)\d\d)-(\d\d)-(\d\d)(?![\d-])", lambda m: _date(m.group(1), m.group(2), m.group(3))),
    rule(
        "slashed date", r"(?<![\d/])(\d{1,2})/(\d{1,2})/((?:1[5-9]|20)\d\d)(?![\d/])", lambda m: _date(m.group(3), m.group(1), m.group(2))
    ),
    rule("month, year", rf"(?<![A-Za-z]){MONTH}\s(?=(?:19|20)\d\d(?!\d))", lambda m: _month_name(m.group(1)) + " "),
    rule("month, day", rf"(?<![A-Za-z]){MONTH}\s(\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s((?:1[0-9]|20)\d\d))?(?![\d:/%.]\d|\d)", _month_day),
    rule(
        "day, month",
        rf"(?:(?i:\bthe)\s)?(?<![\d.,/-])([12]?\d|3[01])(?:st|nd|rd|th)?\s(?:of\s)?{MONTH}(?![A-Za-z])(?:,?\s((?:1[0-9]|20)\d\d)(?!\d))?",
        _day_month,
    ),
    rule(
        "codes by name",
        rf"\b({_CODES}(?:\s(?:is|was|number))?:?\s(?:number\s)?)(\d{{3,}})(?![\d.,]\d|\d)",
        lambda m: m.group(1) + en_digits(m.group(2)),
    ),
    rule(
        "rooms and flights",
        r"\b((?i:room|flight|suite|apartment|apt|bus|highway|route|area|boeing|airbus|http|error)\s(?:[A-Z]{2}\s?)?)(\d{3,4})(?!\d)",
        lambda m: m.group(1) + en_digits(m.group(2)),
    ),
    rule("price range", rf"([$£€])({_NUMBER})\s?[-–]\s?\1?({_NUMBER})(?![\w,.-]*\d|[kKmMbB])", _price_range),
    rule("groups of zeros", r"(?<![\d.,-])\d{1,3}(?: 000)+(?!\d)", lambda m: en_cardinal(int(m.group().replace(" ", "")))),
    rule("retirement plan", r"(?<!\d)401\(k\)", lambda _: "four oh one k"),
    rule("money", rf"(US\$|[$£€¥￥])\s?({_NUMBER})(?:\s?(thousand|million|billion|trillion|bn|[kKmMbBT])(?![A-Za-z]))?", _money),
    rule("cents", r"¢\s?(\d+)|(\d+)\s?¢", lambda m: _amount(m.group(1) or m.group(2), "cent", "cents")),
    rule("duration", r"(?<![\d:.])(\d{1,2}):([0-5]\d):([0-5]\d)(?![\d:])", _duration),
    rule("from time to time", r"(?<=\d[apAP][mM])\s?[-–]\s?(?=\d)|(?<=[ap]\.m\.)\s?[-–]\s?(?=\d)", lambda _: " to "),
    rule("time", r"(?<![\d:.$])(\d{1,2})(?::([0-5]\d))?\s?([aApP]\.?[mM]\b\.?(?=\s[a-z]|[^\s\w]|\s\d|\Z)|[aApP]\.?[mM]\b)", _clock),
    rule("clock", r"(?<![\d:.$])(\d{1,2}):([0-5]\d)()(?![:\d])", _clock),
    rule("years", r"(?<![\d.,$-])((?:1[5-9]|20)\d\d)\s?[-–—]\s?((?:1[5-9]|20)\d\d)(?![\d.,-]\d|\d)", _years),
    rule("decades", r"(?<![\d.,$'’])(1[5-9]|20)(\d0)['’]?s(?![A-Za-z])", _decade),
    rule("short decades", r"(?<!\w)['’]()(\d0)['’]?s(?![A-Za-z])", _decade),
    rule("version", r"(?<![A-Za-z])(v|version |Version |V|release |Python )\s?(\d+(?:\.\d+)+)(?![\d])", _version),
    rule("dotted numbers", r"(?<![\d.])\d+(?:\.\d+){2,}(?![\d.])", _dots),
    rule(
        "feet and inches", r"(?<!\d)(\d)['′](\d{1,2})[\"″]", lambda m: f"{en_cardinal(int(m.group(1)))} foot {en_cardinal(int(m.group(2)))}"
    ),
    rule("ordinals", r"(?<![\w.,])(\d{1,9})(?:st|nd|rd|th)(?![A-Za-z])", lambda m: en_ordinal(int(m.group(1)))),
    rule("letters, hyphen, digits", r"(?<![A-Za-z\d.])([A-Za-z]+(?:-[A-Za-z]+)*)[-–](\d+)(?![\d.:,]\d|\d)", _letters_digits),
    rule("letters and digits", r"(?<![A-Za-z\d.])([A-Z]{1,5})(\d{3,})(?![\d.,]\d|\d)", _letters_digits),
    rule("mixed fractions", r"(\d+)\s?([½⅓⅔¼¾⅛])", lambda m: f"{en_cardinal(int(m.group(1)))} and {FRACTIONS[m.group(2)]}"),
    rule("vulgar fractions", r"[½⅓⅔¼¾⅛]", lambda m: FRACTIONS[m.group()]),
    rule("rulers", rf"({_RULERS})\s([IVX]{{1,6}})(?![\w])", lambda m: f"{m.group(1)} the {en_ordinal(roman(m.group(2)))}"),
    rule("numerals", rf"({_NUMBERED})\s([IVX]{{1,6}})(?![\w])", lambda m: f"{m.group(1)} {en_cardinal(roman(m.group(2)))}"),
    rule("resolutions", r"(?<![\w.,$])([248])K(?![\w])", lambda m: f"{en_cardinal(int(m.group(1)))} K"),
    rule("Fahrenheit", r"(?<![\w.,])(\d{2,3})\s?F(?![\w])", lambda m: f"{en_cardinal(int(m.group(1)))} degrees Fahrenheit"),
    rule(
        "range with a unit",
        rf"(?<![\w.,-])({_NUMBER})\s?[-–]\s?(?={_NUMBER}\s?(?:{_UNIT})(?![A-Za-z]))",
        lambda m: f"{en_decimal(m.group(1))} to ",
    ),
    rule("measures", rf"(?<![\w.,])([-−]?)({_NUMBER})\s?({_UNIT})(?![A-Za-z/°])", _measure),
    rule("multiples", r"(?<![\w.,])(\d+(?:\.\d+)?)[xX](?![\w])", lambda m: f"{en_decimal(m.group(1))} times"),
    rule("thousands and millions", r"(?<![\w.,])(\d+(?:\.\d+)?)([kKM])(?![A-Za-z\d-])", _scaled),
    rule("leading zeros", r"(?<![\w.,:/-])(0\d+)(?![\w.:/-])", lambda m: en_digits(m.group(1))),
    rule(
        "range",
        r"(?<![\w.,-])(\d{1,3}(?:\.\d+)?)[-–](\d{1,3}(?:\.\d+)?)(?![\w.-]*\w|\s?=)",
        lambda m: f"{en_decimal(m.group(1))} to {en_decimal(m.group(2))}",
    ),
    rule("minus", r"(?<=\d)\s[-−–]\s(?=\d)", lambda _: " minus "),
    rule("symbols", r"(?<=[\w)%])\s?([+=*×÷<>≤≥≠±^≈])\s?(?=[\w(.-])(?!\w+[@])", _symbol),
    rule("leading signs", r"(?<![\w)])([±≤≥≈<>])\s?(?=\d)", lambda m: LEADING[m.group(1)] + " "),
    rule("division", r"(?<=\d)\s/\s(?=\d)", lambda _: " divided by "),
    rule("powers of ten", r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([-+]?)(\d{1,3})(?!\w)", _scientific),
    rule("about", r"(?<!\w)~\s?(?=[\d$])", lambda _: "about "),
    rule("thousands", THOUSANDS, lambda m: en_cardinal(int(m.group().replace(",", "")))),
    rule("years by context", r"(?<![\w.,-])((?:19|20)\d\d)(?![\w.,:/-]*\d|\w)", lambda m: en_year(int(m.group(1)))),
    rule(
        "years after a word",
        r"((?i:in|since|by|until|from|year|before|after|of)\s)(1[0-8]\d\d)(?![\w.,:/-]*\d|\w)",
        lambda m: m.group(1) + en_year(int(m.group(2))),
    ),
    rule(
        "long numbers",
        r"(?<![\w.,])(\d{4,})(?![\w]|[.,]\d)",
        lambda m: en_digits(m.group(1)) if len(m.group(1)) > 9 else _integer(m),
    ),
    rule("long decimals", r"(?<![\w.,])(\d+\.\d+)(?![\w]|[.,]\d|/)", lambda m: en_decimal(m.group(1))),
    rule("score", r"(?<![\d:])(\d{1,2}):(\d{1,2})(?![\d:])", lambda m: f"{en_cardinal(int(m.group(1)))} to {en_cardinal(int(m.group(2)))}"),
    rule("fifty-fifty", r"(?<!\d)50/50(?!\d)", lambda _: "fifty fifty"),
    rule("September eleventh", r"(?<![\d/])9/11(?![\d/])", lambda _: "nine eleven"),
    rule("whole numbers", r"(?<![\w.,/:-])(\d{1,3})(?![\w]|[.,/:-]\d|\s\d+/\d)", _integer),
    rule("C languages", r"(?<![A-Za-z])(C\+\+|C#|F#)", lambda m: m.group(1).replace("++", " plus plus").replace("#", " sharp")),
    rule("and", r"\s?&\s?", lambda _: " and "),
    rule("at", r"(?<!\w)@(?=\w)", lambda _: "at "),
)
