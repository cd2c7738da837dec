"""Chinese pre-pass: spoken or unambiguous forms for what `wetext` (0.1.8) misreads. In order; earlier rules see the text first.

Conventions: telephone numbers, codes and room numbers are read digit by digit with 幺; versions and addresses with 一.
"""

from __future__ import annotations

import re

from realtime.text.numbers import zh_cardinal, zh_digits
from realtime.text.rules import COMMON, HOST, MAIL, THOUSANDS, Rule, rule, without_commas

_CURRENCIES = {
    "￥": "元",
    "¥": "元",
    "RMB": "元",
    "CNY": "元",
    "US$": "美元",
    "HK$": "港元",
    "$": "美元",
    "€": "欧元",
    "£": "英镑",
    "₩": "韩元",
}
_CURRENCIES |= {"USD": "美元", "EUR": "欧元", "GBP": "英镑"}
_SCALES = {"k": "千", "K": "千", "m": "百万", "M": "百万", "b": "十亿", "B": "十亿", "bn": "十亿", "": ""}
_PER = (
    "百万|次|人|天|日|月|年|周|小时|分钟|秒|件|个|只|位|晚|张|份"
    "|公里|千米|米|平方米|立方米|平米|平|公斤|千克|斤|吨|升|亩|度|瓶|箱|斗|户|节|课时|股|kg|km|m²|m2|g|L|h"
)
_UNITS_PER = {"kg": "公斤", "km": "公里", "m²": "平方米", "m2": "平方米", "g": "克", "L": "升", "h": "小时"}
_CODES = (
    "QQ号?|微信号?|验证码|校验码|动态码|身份证号?码?|证件号码?|订单号?|单号|快递号?|编号|卡号|账号|帐号|工号|学号|密码|邮编|邮政编码|车牌号?|房间号?|房号|房|室"
    "|门牌号?|尾号|后四位|电话号?码?|热线|手机号?码?|号码|座机|分机|航班号?|车次|流水号|型号|代码|股票代码|ID|PIN"
)
_FRACTIONS = {"½": "二分之一", "⅓": "三分之一", "⅔": "三分之二", "¼": "四分之一", "¾": "四分之三", "⅕": "五分之一", "⅛": "八分之一"}


def _call(digits: str) -> str:
    return zh_digits(re.sub(r"\D", "", digits), is_call=True)


def _mobile(match: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", match.group(2))
    country = "加八六，" if match.group(1) else ""
    return country + "，".join(_call(part) for part in (digits[:3], digits[3:7], digits[7:]))


def _landline(match: re.Match[str]) -> str:
    extension = match.group(3)
    spoken = f"{_call(match.group(1))}，{_call(match.group(2))}"
    return spoken + (f"转{_call(extension)}" if extension else "")


def _money(match: re.Match[str]) -> str:
    unit = _CURRENCIES[match.group(1)]
    number = match.group(2).replace(",", "")
    whole, _, fraction = number.partition(".")
    fraction = fraction.rstrip("0")
    scale = match.group(3) or ""
    return whole + (f".{fraction}" if fraction else "") + _SCALES.get(scale, scale) + unit


def _code(match: re.Match[str]) -> str:
    return match.group(1).replace("-", " ") + _call(match.group(2)) + match.group(3)


def _letters_digits(match: re.Match[str]) -> str | None:
    """`GPT-4` with a number, `ABC-1234` digit by digit; `A-1` and `i7` likewise."""
    letters, hyphen, digits = match.groups()
    if len(digits) >= 3:
        return f"{letters}{' ' if hyphen else ''}{_call(digits)}"
    return f"{letters} {digits}" if hyphen else None


def _scientific(match: re.Match[str]) -> str:
    sign = "负" if match.group(2) == "-" else ""
    return f"{match.group(1)}乘以10的{sign}{match.group(3)}次方"


def _cents(match: re.Match[str]) -> str:
    return match.group(1) + match.group(2).rstrip("0").rstrip(".")


_ROMANS = dict(zip("ⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩ", "一二三四五六七八九十", strict=True))
_UNITS = {
    "W": "瓦",
    "kW": "千瓦",
    "kWh": "千瓦时",
    "V": "伏",
    "mAh": "毫安时",
    "Hz": "赫兹",
    "kHz": "千赫",
    "MHz": "兆赫",
    "GHz": "吉赫",
    "fps": "帧每秒",
    "Mbps": "兆比特每秒",
    "dB": "分贝",
}


_DESIGNATIONS = "|".join(f"(?<={name})" for name in "东风 长征 神舟 嫦娥 天宫 米格 巨浪 红旗 鹰击 天问".split())
_NAMED = "大促|高校|工程|晚会|院校|大学|节|购物|工作制|和"


def _price_range(match: re.Match[str]) -> str:
    return f"{match.group(2)}到{match.group(3)}{_CURRENCIES[match.group(1)]}"


def _feast(match: re.Match[str]) -> str:
    return "".join(zh_cardinal(int(part)) for part in match.groups())


def _either(match: re.Match[str]) -> str:
    return "".join("两" if digit == "2" else zh_digits(digit) for digit in match.groups())


def _parts(dotted: str) -> str:
    """`2.10.3` as 二点十点三, `1.05` and the four parts of an address digit by digit."""
    parts = dotted.split(".")
    is_address = len(parts) > 3
    return "点".join(zh_digits(p) if is_address or len(p) > 2 or p[0] == "0" else zh_cardinal(int(p)) for p in parts)


def _version(match: re.Match[str]) -> str:
    return match.group(1) + _parts(match.group(2))


def _dotted(match: re.Match[str]) -> str | None:
    """`2.0.1` and `192.168.1.1`, but not the date `2023.10.1`."""
    if re.fullmatch(r"(?:19|20)\d\d\.(?:0?[1-9]|1[0-2])\.(?:0?[1-9]|[12]\d|3[01])", match.group()):
        return None
    return _parts(match.group())


def _negative(match: re.Match[str]) -> str:
    return f"零下{match.group(1)}{match.group(2)}"


def _clock(match: re.Match[str]) -> str:
    minutes = "" if match.group(1) == "00" else f"{int(match.group(1))}分"
    return f"0点{'0' if minutes and match.group(1)[0] == '0' else ''}{minutes}"


def _mail(match: re.Match[str]) -> str:
    return f"{_address(match.group(1))}艾特{_address(match.group(2))}"


def _address(text: str) -> str:
    spoken = text.replace(".", "点").replace("_", "下划线").replace("-", "杠").replace("+", "加")
    return re.sub(r"\d+", lambda m: zh_digits(m.group()), spoken)


RULES: tuple[Rule, ...] = (
    rule("Roman digits", "[Ⅰ-Ⅹ]", lambda m: _ROMANS[m.group()]),
    *COMMON,
    rule("list number", r"\A\s*(\d{1,3})[.．)）]\s*(?=[^\d\s])", lambda m: f"{m.group(1)}、"),
    rule("versus", r"(?<![A-Za-z])(?:vs|VS)\.?(?![A-Za-z])", lambda _: "对"),
    rule("version before its noun", r"(?<![\d.A-Za-z])(\d+(?:\.\d+)+)(?=版)", lambda m: _parts(m.group(1))),
    rule("e-mail", MAIL, _mail),
    rule("host", HOST, lambda m: _address(m.group(1).removeprefix("www."))),
    rule("mobile", r"(?<![\d.])(\+?86[- ]?)?(1[3-9]\d[- ]?\d{4}[- ]?\d{4})(?![\d.]\d|\d|元|美元|万|亿|%)", _mobile),
    rule("landline in brackets", r"[(（](0\d{2,3})[)）][- ]?(\d{3,4}[- ]?\d{4})(?:(?:转|-)(\d{1,6}))?(?!\d)", _landline),
    rule("landline", r"(?<![\d.])(0\d{2,3})[- ](\d{3,4}[- ]?\d{4})(?:(?:转|-)(\d{1,6}))?(?!\d)", _landline),
    rule("service number", r"(?<!\d)([48]00)[- ]?(\d{3,4}[- ]?\d{3,4})()(?!\d|元|万|亿|[个人])", _landline),
    rule("called numbers", r"((?:拨打|致电|拨|呼叫|打给)(?:电话|热线)?\s?)(\d{3,6})()(?![\d.-]|[个次分元])", _code),
    rule("well-known numbers", r"()(?<![\d.])(100(?:10|86)|12(?:306|315|123))()(?![\d.%]|[个人元块万次件台吨米])", _code),
    rule("hotlines", r"()(?<!\d)(1\d{4}|95\d{3})((?:客服|服务|投诉|政务)?热线)", _code),
    rule("shop", r"(?<=[在去到家])7-11(?![月日号点\d])", lambda _: "七幺幺"),
    rule("price range", r"([￥¥$€£])\s?(\d+(?:\.\d+)?)\s?[-–~]\s?[￥¥$€£]?(\d+(?:\.\d+)?)(?:元)?(?![\d.])", _price_range),
    rule("designations", rf"(?:(?<=[歼运轰直苏图强])|{_DESIGNATIONS})-(?=\d)", lambda _: ""),
    rule("airliners", r"(波音|空客|Boeing |Airbus )\s?([A-Z]?)(\d{3})(?!\d)", lambda m: m.group(1) + m.group(2) + zh_digits(m.group(3))),
    rule("feasts", r"(?<![\d.])(\d{1,2})\.(\d{1,2})(?=妇女节|劳动节|儿童节|国庆|假期|黄金周|青年节|长假|消费者)", _feast),
    rule("names of numbers", rf"(?<!\d)(618|985|211|315|520|1024|996)(?={_NAMED})", lambda m: zh_digits(m.group(1))),
    rule("about", r"(?<![\w℃%])[~～](?=\d)", lambda _: "约"),
    rule("ten thousands", r"(?<![A-Za-z\d.])(\d+(?:\.\d+)?)w(?![A-Za-z\d])", lambda m: f"{m.group(1)}万"),
    rule("or more", r"(?<=[万亿千百岁])\+(?![\d+])", lambda _: "以上"),
    rule("two or three", r"(?<![\d.])([1-9])、([2-9])(?=[个天年次人岁位种件只块斤点]|小时|分钟|公里)", _either),
    rule("second of many", r"(?<![\d.-])2(?=单元|号|楼|层|栋|幢|座|期|班|年级|月|线|等奖)", lambda _: "二"),
    rule("percent range", r"(?<=[%℃])\s?[-–]\s?(?=\d)", lambda _: "到"),
    rule("powers", r"(?<![\d.])(\d+)\^(-?)(\d+)", lambda m: f"{m.group(1)}的{'负' if m.group(2) else ''}{m.group(3)}次方"),
    rule("squares", r"(?<=\d)([²³])", lambda m: "的平方" if m.group() == "²" else "的立方"),
    rule("roots", r"√(?=\d)", lambda _: "根号"),
    rule("minutes of arc", r"(?<=\d)′", lambda _: "分"),
    rule(
        "year and month range",
        r"(?<!\d)((?:19|20)\d\d)[-~—–]((?:19|20)\d\d)(?=年|$|[^\d-])",
        lambda m: f"{zh_digits(m.group(1))}到{zh_digits(m.group(2))}",
    ),
    rule("thousands", THOUSANDS, without_commas),
    rule(
        "money with its sign",
        r"(US\$|HK\$|[￥¥$€£₩]|(?<![A-Za-z])(?:RMB|CNY|USD|EUR|GBP))\s?(\d+(?:\.\d+)?)\s?(万亿|百万|千万|[万亿]|bn|[kKmMbB](?![A-Za-z]))?(?:元|美元|欧元|英镑)?",
        _money,
    ),
    rule(
        "money per unit",
        rf"(?<=[元块角分钱镑万])/({_PER})(?:(?<![A-Za-z])|(?![A-Za-z]))",
        lambda m: f"每{_UNITS_PER.get(m.group(1), m.group(1))}",
    ),
    rule("around the clock", r"(?<!\d)24/7(?!\d)", lambda _: "二十四小时"),
    rule("ID card", r"(?<!\d)(\d{17}[\dXx])(?!\d)", lambda m: _call(m.group(1)[:-1]) + (_call(m.group(1)[-1]) or "X")),
    rule("codes by name", rf"((?:{_CODES})(?:是|为|：|:|\s)?\s?[A-Za-z]{{0,4}}-?)(\d{{3,}})()(?![\d.]|元|万|亿)", _code),
    rule("room", r"()(?<!\d)(\d{3,4})(室|房间|包厢|教室)", _code),
    rule("leading zero", r"(?<![\d.:：/-])(0\d+)(?![\d.:：/-]|年代|后|分|秒)", lambda m: _call(m.group(1))),
    rule("long digit strings", r"(?<![\d.])(\d{12,})(?![\d.元个人万亿%])", lambda m: _call(m.group(1))),
    rule("version", r"(?<![A-Za-z])([vV]\s?|[vV]er\s?)(\d+(?:\.\d+)+)", _version),
    rule("dotted numbers", r"(?<![\d.])\d+(?:\.\d+){2,}(?![\d.])", _dotted),
    rule("blood pressure", r"(\d{2,3})/(\d{2,3})\s?mmHg", lambda m: f"{zh_cardinal(int(m.group(1)))}比{m.group(2)}毫米汞柱"),
    rule("decade", r"(?<!\d)(1[89]\d0|20\d0)'?s(?![A-Za-z])", lambda m: f"{zh_digits(m.group(1))}年代"),
    rule("generations", r"(?<!\d)([0-9]0)(?=(?:、\d0)*后)", lambda m: zh_digits(m.group(1))),
    rule("ordinal", r"(?<![A-Za-z\d])(\d+)(?:st|nd|rd|th)(?![A-Za-z])", lambda m: f"第{m.group(1)}"),
    rule("No.", r"(?<![A-Za-z])(?:No|NO)[.．]?\s?(\d+)", lambda m: f"第{m.group(1)}"),
    rule("hash number", r"#(\d+)(?!\d)", lambda m: f"{m.group(1)}号"),
    rule("quarter", r"(?<!\d)((?:19|20)\d\d)\s?年?[Qq]([1-4])(?![\d.])", lambda m: f"{zh_digits(m.group(1))}年第{m.group(2)}季度"),
    rule("powers of ten", r"(?<![A-Za-z\d.])(\d+(?:\.\d+)?)[eE]([-+]?)(\d{1,3})(?![A-Za-z\d])", _scientific),
    rule("models", r"(?<![A-Za-z\d])([A-Za-z]+\d{1,2})-(\d{3,})(?!\d)", lambda m: f"{m.group(1)} {_call(m.group(2))}"),
    rule("letters and digits", r"(?<![A-Za-z\d.])([A-Za-z]+)([-–]?)(\d+)(?![\d.:]\d|\d)", _letters_digits),
    rule("letter for a digit group", r"(?<=[A-Za-z])-(?=\d)", lambda _: " "),
    rule("C languages", r"(?<![A-Za-z])(C\+\+|C#|F#)", lambda m: m.group(1).replace("++", "加加").replace("#", " sharp")),
    rule("letter plus", r"(?<=[A-Za-z])\+(?![\d+A-Za-z])", lambda _: "加"),
    rule("number plus", r"(?<=\d)\+(?=[^\d\s=+]|$)", lambda m: "多" if m.string[m.start() - 1] == "0" else "以上"),
    rule("between letters", r"(?<=[A-Za-z])&(?=[A-Za-z])", lambda _: " and "),
    rule("and", r"\s?&\s?", lambda _: "和"),
    rule("midnight", r"(?<![\d:：])0{1,2}[:：]([0-5]\d)(?![\d:：])", _clock),
    rule("below zero", r"(?<![\d.])[-−](\d+(?:\.\d+)?)\s?(℃|°C|度|摄氏度)", _negative),
    rule("minus", r"(?<=\d)\s?[-−–]\s?(?=\d+(?:\.\d+)?\s?=)", lambda _: "减"),
    rule("lines from to", r"(第\d+)-(?=\d)", lambda m: f"{m.group(1)}到"),
    rule("range", r"(?<![A-Za-z\d.-])(\d+(?:\.\d+)?)[-–](\d+(?:\.\d+)?)(?![\d.-])(?!=)", lambda m: f"{m.group(1)}到{m.group(2)}"),
    rule("wave", r"(?<=[\d℃%点分])\s?[～~]\s?(?=[\d-])", lambda _: "到"),
    rule("plus", r"(?<=[\dA-Za-z)])\s?\+\s?(?=[\dA-Za-z(])", lambda _: "加"),
    rule("positive", r"(?<![\w)])\+(?=\d)", lambda _: "正"),
    rule("times", r"(?<=[\d)])\s?[*×xX]\s?(?=[\d(])", lambda _: "乘"),
    rule("divided", r"(?<=\d)\s?÷\s?(?=\d)", lambda _: "除以"),
    rule("equals", r"(?<=[\dA-Za-z)])\s?=\s?(?=[\dA-Za-z(-])", lambda _: "等于"),
    rule("greater", r"(?<=[\dA-Za-z)])\s?>\s?(?=[\dA-Za-z(-])", lambda _: "大于"),
    rule("less", r"(?<=[\dA-Za-z)])\s?<\s?(?=[\dA-Za-z(-])", lambda _: "小于"),
    rule("feet and inches", r"(?<!\d)(\d)['′](\d{1,2})[\"″]", lambda m: f"{m.group(1)}英尺{m.group(2)}英寸"),
    rule("per mille", r"(\d+(?:\.\d+)?)‰", lambda m: f"千分之{m.group(1)}"),
    rule("vulgar fractions", r"[½⅓⅔¼¾⅕⅛]", lambda m: _FRACTIONS[m.group()]),
    rule("degrees", r"(?<=\d)\s?°(?![CF])", lambda _: "度"),
    rule("feast days", r"(?<!\d)(\d{1,2})·(\d{1,2})(?!\d)", lambda m: zh_digits(m.group(1)) + zh_digits(m.group(2))),
    rule("month and day", r"(?<![\d/])(\d{1,2})/(\d{1,2})月", lambda m: f"{m.group(1)}、{m.group(2)}月"),
    rule("cents of money", r"(\d+)(\.\d*?0+)(?=[元块]|美元|欧元|英镑|港元)", _cents),
    rule(
        "decimals like a date",
        r"(?<![\d.])(\d{1,2}\.0\d)(?![\d.A-Za-z%‰℃°㎡元万亿])",
        lambda m: f"{zh_cardinal(int(m.group(1).split('.')[0]))}点{zh_digits(m.group(1).split('.')[1])}",
    ),
    rule("whole numbers", r"(?<![\d.:/-])(\d{5,11})(?![\d:/-]|\.\d|[A-Za-z])", lambda m: zh_cardinal(int(m.group(1)))),
    rule("units", rf"(?<=\d)\s?({'|'.join(sorted(_UNITS, key=len, reverse=True))})(?![A-Za-z])", lambda m: _UNITS[m.group(1)]),
    rule("at", r"(?<![A-Za-z\d])@(?=\w)", lambda _: "艾特"),
    rule("waves", r"[～~]+(?=[。！？!?，,…]|$)", lambda _: ""),
    rule("drawn out", r"[～~]+(?!\d)", lambda _: "，"),
)
