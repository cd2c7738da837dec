"""What is written for the eye, out of the text or into words: Markdown, HTML, code, addresses, emoji.

Works on segments, never on deltas. `MarkupFilter` carries what spans segments: an open code fence, and whether a line just began.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import emoji

from realtime.text.edits import PRONUNCIATION, Edit, apply, substitute
from realtime.types import Segment, Span, SpokenText

Speak = Callable[[re.Match[str]], str | None]


@dataclass(frozen=True, slots=True)
class MarkupOptions:
    """`emoji`: dropped, or spoken by their name. `code`: a fenced block is announced by a short note, or skipped."""

    emoji: Literal["drop", "name"] = "drop"
    code: Literal["note", "skip"] = "skip"


CODE_NOTES = {"zh": "代码略。", "en": "Code omitted."}
_CELL_PAUSES = {"zh": "，", "en": ", "}

_FENCE = re.compile(r"[ \t]{0,3}(`{3,}|~{3,})(.*)")
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|>~])")
_ESCAPED = re.compile("[\ue020-\ue07e]")
_RULE = re.compile(r"[ \t]*(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|={3,})[ \t]*\Z")
_TABLE_RULE = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-*:?[ \t]*)+\Z")
_TABLE_ROW = re.compile(r"[ \t]*\|.+\|[ \t]*\Z")
_LINE_LEAD = re.compile(r"[ \t]*(?:>[ \t]?)*[ \t]*(?:#{1,6}[ \t]+|[-*+•◦▪·][ \t]+(?:\[[ xX]\][ \t]+)?)?")
_HEADING_TAIL = re.compile(r"[ \t]+#+[ \t]*\Z")

_TAGS = (
    "a|abbr|b|big|blockquote|body|br|center|code|dd|del|details|div|dl|dt|em|font|h[1-6]|head|hr|html|i|img|ins|kbd|li|mark|ol|p|pre|q|s|"
    "small|span|strike|strong|sub|summary|sup|table|tbody|td|tfoot|th|thead|tr|tt|u|ul|var|speak|break|prosody|emphasis|say-as|phoneme|voice"
)
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.)+[A-Za-z]{2,24}"


def _group(name: int | str) -> Speak:
    return lambda match: match.group(name)


def _nothing(_: re.Match[str]) -> str:
    return ""


def _host(match: re.Match[str]) -> str:
    return match.group("host") + match.group("stop")


def _entity(match: re.Match[str]) -> str | None:
    char = html.unescape(match.group())
    return " " if char == "\xa0" else char if len(char) == 1 and char.isprintable() else None


def _is_arithmetic(match: re.Match[str]) -> bool:
    """`2**3`, `2 ** 3`: an operator between two values."""
    text, left, right = match.string, match.start() - 1, match.end()
    before, after = text[left : left + 1] if left >= 0 else "", text[right : right + 1]
    return (before == " " and after == " ") or (before.isdigit() and after.isdigit())


def _unless_arithmetic(match: re.Match[str]) -> str | None:
    return None if _is_arithmetic(match) else ""


INLINE: tuple[tuple[re.Pattern[str], Speak], ...] = (
    (re.compile(r"<!--.*?(?:-->|\Z)", re.S), _nothing),
    (re.compile(r"!\[([^\[\]\n]*)\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)"), _group(1)),
    (re.compile(r"\[\^[^\[\]\n]{1,30}\]:?"), _nothing),
    (re.compile(r"\[([^\[\]\n]+)\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)"), _group(1)),
    (re.compile(r"\[([^\[\]\n]+)\]\[[^\[\]\n]*\]"), _group(1)),
    (re.compile(r"<((?:https?://|mailto:)[^<>\s]+)>"), _group(1)),
    (re.compile(r"<br[ \t]*/?>", re.I), lambda _: " "),
    (re.compile(rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>", re.I), _nothing),
    (
        re.compile(r"<[A-Za-z][\w:-]*(?:\s+[\w:-]+\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'))+\s*/?>|<[A-Za-z][\w:-]*\s*/>|</[A-Za-z][\w:-]*>"),
        _nothing,
    ),
    (re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,10});"), _entity),
    (re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)"), _group(2)),
    (re.compile(r"`+"), _nothing),
    (re.compile(r"mailto:(?=\S+@)"), _nothing),
    (
        re.compile(
            rf"(?:https?|ftp)://(?:www\.)?(?P<host>{_HOST}|[0-9.]+|localhost)(?::\d+)?(?:[/?#][!-~]*?)?(?P<stop>[.,;:!?'\")\]]*)(?=[^!-~]|\Z)"
        ),
        _host,
    ),
    (re.compile(rf"\bwww\.(?P<host>{_HOST})(?::\d+)?(?:[/?#][!-~]*?)?(?P<stop>[.,;:!?'\")\]]*)(?=[^!-~]|\Z)", re.A), _host),
    (re.compile(r"\*{2,}"), _unless_arithmetic),
    (re.compile(r"(?<![A-Za-z0-9*)])\*(?=[^\s*])([^*\n]+?)(?<=[^\s*])\*(?![A-Za-z0-9*(])"), _group(1)),
    (re.compile(r"(?<!\S)\*(?=[^\s*\d])|(?<=[^\s*\d])\*(?!\S)"), _nothing),
    (re.compile(r"(?<![A-Za-z0-9_])(_{1,2})(?=[^\s_])([^\n]+?)(?<=[^\s_])\1(?![A-Za-z0-9_])"), _group(2)),
    (re.compile(r"~~"), _nothing),
    (re.compile(r"([0-9#*])\ufe0f?\u20e3"), _group(1)),
    (re.compile(r"(?<!\S)[:;]['-]?[()DPp](?!\S)"), _nothing),
)
"""In this order: what holds other markup goes first."""

_BLANKS = re.compile(r"[ \t\r\n\u3000\xa0]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff\ufffe\uffff]+")


class MarkupFilter:
    """One utterance's segments, in order, without their markup. `push` never raises, whatever the text."""

    def __init__(self, options: MarkupOptions | None = None) -> None:
        self.options = options or MarkupOptions()
        self._fence = ""
        self._is_line_start = True

    @property
    def is_in_code(self) -> bool:
        """Whether the segments pushed so far end inside a code fence."""
        return self._fence != ""

    def push(self, segment: Segment) -> SpokenText:
        """What to speak of a segment; origins are positions in `segment.text`. May be empty."""
        spoken = SpokenText.verbatim(segment.text)
        if not segment.text:
            return spoken
        spoken = self._lines(spoken, segment.language)
        self._is_line_start = segment.text.endswith("\n")
        spoken = substitute(spoken, _ESCAPE, lambda m: chr(0xE000 + ord(m.group(1))))
        for pattern, speak in INLINE:
            spoken = substitute(spoken, pattern, speak)
        spoken = substitute(spoken, _ESCAPED, lambda m: chr(ord(m.group()) - 0xE000))
        spoken = self._emoji(spoken, segment.language)
        spoken = substitute(spoken, _CONTROLS, _nothing)
        return substitute(spoken, _BLANKS, lambda _: " ")

    def _lines(self, spoken: SpokenText, language: str) -> SpokenText:
        """Code fences, headings, lists, quotes, rules and tables: what a line starts with."""
        edits: list[Edit] = []
        at = 0
        for line in spoken.text.splitlines(keepends=True):
            body = line.rstrip("\r\n")
            if at > 0 or self._is_line_start or self._fence:
                edits += self._line(body, len(line), at, language, at > 0 or self._is_line_start)
            at += len(line)
        return apply(spoken, edits)

    def _line(self, body: str, length: int, at: int, language: str, is_start: bool) -> list[Edit]:
        fence = _FENCE.match(body) if is_start else None
        if self._fence:
            if fence and fence.group(1).startswith(self._fence) and not fence.group(2).strip():
                self._fence = ""
            return [Edit(at, at + length, "")]
        if fence and "`" not in fence.group(2):
            self._fence = fence.group(1)
            return [Edit(at, at + length, CODE_NOTES.get(language, "") if self.options.code == "note" else "")]
        if _RULE.match(body) or _TABLE_RULE.match(body):
            return [Edit(at, at + len(body), "")]
        if _TABLE_ROW.match(body) and not PRONUNCIATION.match(body):
            return _cells(body, at, language)
        lead = _LINE_LEAD.match(body)
        assert lead is not None, "every part of the pattern is optional"
        edits = [Edit(at, at + lead.end(), "")] if lead.group().strip() else []
        tail = _HEADING_TAIL.search(body, lead.end()) if "#" in lead.group() else None
        return [*edits, Edit(at + tail.start(), at + len(body), "")] if tail else edits

    def _emoji(self, spoken: SpokenText, language: str) -> SpokenText:
        if spoken.text.isascii():
            return spoken
        edits = []
        for found in emoji.emoji_list(spoken.text):
            name = ""
            if self.options.emoji == "name":
                name = emoji.demojize(found["emoji"], language=language, delimiters=(" ", " ")).replace("_", " ")
            edits.append(Edit(found["match_start"], found["match_end"], name))
        return apply(spoken, edits)


def _cells(body: str, at: int, language: str) -> list[Edit]:
    """A table row's bars: pauses between cells, nothing at the ends."""
    pause = _CELL_PAUSES.get(language, ", ")
    bars = [m for m in re.finditer(r"[ \t]*\|[ \t]*", body)]
    last = len(body.rstrip())
    return [Edit(at + m.start(), at + m.end(), "" if m.start() == 0 or m.end() >= last else pause) for m in bars]


def strip_markup(text: str, language: str = "zh", options: MarkupOptions | None = None) -> SpokenText:
    """A text of its own without its markup, as `MarkupFilter` does for a stream of segments."""
    return MarkupFilter(options).push(Segment(0, Span(0, len(text)), text, language))
