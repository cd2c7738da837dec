"""Decides, character by character, how good a place to cut comes next.

`next_mark(text, at, floor, is_final)` is a function of the text alone: it reads at most `LOOKBEHIND` characters before the segment
(`floor`) and `LOOKAHEAD` after `at`. It answers None while the characters that would decide have not arrived. An answer once given
stays right whatever follows; that is what makes segments independent of how the text was cut into deltas.

Cost: one call per word or mark; each reads a bounded window.

Long because every mark's rule looks at the same few characters around it, and the rules exclude one another.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import NamedTuple

from realtime.text import boundaries
from realtime.text.boundaries import CLAUSES, CLOSERS, DASHES, DOTS, ELLIPSES, QUOTES, STOPS, WEAK, Strength, is_cjk, is_extender

LOOKAHEAD = 80
"""Characters read ahead at most; guess: longer than any word or pronunciation mark, short against a segment."""
LOOKBEHIND = 80
"""Characters before the segment that are still read: abbreviations and the line's opening quotes."""
_LONGEST_TOKEN = 40
_LONGEST_STARTER = 12
_WRAPPED_LINE = 60
"""A line at least this long was probably broken by an editor, not by the writer; guess from 72 and 80 column habits."""


class Certainty(IntEnum):
    """How likely a forced decision would stand if more text came."""

    UNSURE = 0
    DOUBTFUL = 1
    LIKELY = 2
    SURE = 3


class Mark(NamedTuple):
    """The text may be cut before position `end`, with `strength`; nothing between was a place to cut. `certainty` matters only for
    a decision that `is_final` forced."""

    end: int
    strength: Strength
    certainty: Certainty = Certainty.SURE


_SPECIAL = "".join(sorted(STOPS | CLAUSES | WEAK | DOTS | ELLIPSES | DASHES)) + "-<["
_PLAIN_RUN = re.compile(rf"[^\s{re.escape(_SPECIAL)}]{{1,64}}")
_TAG = re.compile(rf"<(?![\s\d=<-])[^<>\n]{{1,{LOOKAHEAD - 2}}}>")
_OPEN_TAG = re.compile(rf"<(?![\s\d=<-])[^<>\n]{{0,{LOOKAHEAD - 2}}}\Z")
_LINK = re.compile(rf"\[[^\[\]\n]{{1,{LOOKAHEAD}}}\](\([^()\s]{{1,{LOOKAHEAD}}}\))?")
_OPEN_LINK = re.compile(rf"\[[^\[\]\n]{{0,{LOOKAHEAD}}}(\](\([^()\s]{{0,{LOOKAHEAD}}})?)?\Z")
_EMPHASIS = re.compile(r"(?<=\S)[*]+|[*]+(?=\S)")
_LIST_LEAD = re.compile(r"[\s>*#•·_(\-]*\Z")
_ACRONYM = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]\Z")


def next_mark(text: str, at: int, floor: int, is_final: bool) -> Mark | None:
    """The next place to cut after `at` (`at < len(text)`), or None when it takes more text to tell."""
    run = _PLAIN_RUN.match(text, at)
    if run is not None:
        return Mark(run.end(), Strength.NONE)
    char = text[at]
    if char == "\n":
        return _newline(text, at, floor, is_final)
    if char.isspace():
        return _space(text, at, is_final)
    if char in STOPS or char in DOTS or char in ELLIPSES:
        return _stop(text, at, floor, is_final)
    if char in CLAUSES or char in WEAK:
        return _clause(text, at, floor, is_final)
    if char in "<[":
        return _enclosed(text, at, is_final)
    return _dash(text, at, floor, is_final)


def _newline(text: str, at: int, floor: int, is_final: bool) -> Mark | None:
    """A line's end closes a sentence (headings and list items have no stop), but for a paragraph wrapped by an editor."""
    ahead = at + 1
    limit = min(len(text), at + LOOKAHEAD)
    while ahead < limit and text[ahead].isspace() and text[ahead] != "\n":
        ahead += 1
    if ahead == len(text) and not is_final:
        return None
    follows = text[ahead : ahead + 1]
    if follows.islower():
        return Mark(at + 1, Strength.WORD)
    line = max(floor, text.rfind("\n", floor, at) + 1)
    is_wrapped = at - line >= _WRAPPED_LINE and follows.isalpha() and not is_cjk(follows)
    return Mark(at + 1, Strength.WORD if is_wrapped else Strength.SENTENCE, Certainty.LIKELY)


def _space(text: str, at: int, is_final: bool) -> Mark | None:
    """Between two words, but not inside `5 000`, and not before a combining character."""
    end = at + 1
    if end == len(text):
        return Mark(end, Strength.WORD) if is_final else None
    is_inside = is_extender(text[end]) or (text[end].isdigit() and at > 0 and text[at - 1].isdigit())
    return Mark(end, Strength.NONE if is_inside or text[end].isspace() else Strength.WORD)


def _enclosed(text: str, at: int, is_final: bool) -> Mark | None:
    """A tag, a pronunciation mark `<word|pron>` or a link is passed over whole; any other bracket is a plain character."""
    whole, opened = (_TAG, _OPEN_TAG) if text[at] == "<" else (_LINK, _OPEN_LINK)
    if not is_final and opened.match(text, at):
        return None
    match = whole.match(text, at)
    is_whole = match is not None and (text[at] == "<" or match.group(1) is not None)
    return Mark(match.end() if match and is_whole else at + 1, Strength.NONE, Certainty.UNSURE)


def _dash(text: str, at: int, floor: int, is_final: bool) -> Mark | None:
    """`——`, and `--` or `-` between spaces, part clauses; a single hyphen is part of a word."""
    end = at + 1
    limit = min(len(text), at + LOOKAHEAD)
    while end < limit and (text[end] == text[at] or is_extender(text[end])):
        end += 1
    if end == len(text) and not is_final:
        return None
    if text[at] in DASHES:
        return Mark(end, Strength.CLAUSE)
    is_free = 0 < at and text[at - 1] == " " and text[end : end + 1] == " "
    line = text[max(floor, text.rfind("\n", floor, at) + 1) : at]
    is_clause = is_free and end - at <= 2 and not line.isspace()
    return Mark(end, Strength.CLAUSE if is_clause else Strength.NONE, Certainty.UNSURE)


def _run_end(text: str, at: int, floor: int, more: frozenset[str]) -> int:
    """Where the marks that start at `at` and the closers after them end."""
    end = at + 1
    limit = min(len(text), at + LOOKAHEAD)
    while end < limit:
        char = text[end]
        if char in more or char in CLOSERS or is_extender(char):
            end += 1
        elif char in QUOTES and _is_closing(text, floor, at, char):
            while end < limit and text[end] == char:
                end += 1
        elif char == "'" and not text[end + 1 : end + 2].isalnum():
            end += 1
        else:
            break
    return end


def _is_closing(text: str, floor: int, at: int, quote: str) -> bool:
    """Whether a mark that opens as well as closes closes here: an odd number of them stand before, on this line."""
    line = text[max(floor, text.rfind("\n", floor, at) + 1) : at]
    if quote == "*":
        return len(_EMPHASIS.findall(line)) % 2 == 1
    return len(re.findall(f"{quote}+", line)) % 2 == 1


_ANY_STOP = STOPS | DOTS | ELLIPSES
_HARD = STOPS
_SURE_STOPS = frozenset(boundaries.LANGUAGES["zh"].stops)


def _stop(text: str, at: int, floor: int, is_final: bool) -> Mark | None:
    """Full stops, question and exclamation marks, ellipses, dots, and every run of them with what closes after them."""
    end = _run_end(text, at, floor, _ANY_STOP)
    if end == len(text) and not is_final:
        return None
    run = text[at:end]
    if end - at > 1 and text[end : end + 1] in CLAUSES:  # `“Wow!”, he said`: the comma parts, not the stop
        return Mark(end, Strength.NONE)
    if any(c in _SURE_STOPS for c in run):
        return Mark(end, Strength.SENTENCE)
    if any(c in _HARD for c in run):
        return _shout(text, at, end, is_final)
    if ".." in run or any(c in ELLIPSES for c in run):
        return _ellipsis(text, end, is_final)
    return _dot(text, at, end, is_final)


def _shout(text: str, at: int, end: int, is_final: bool) -> Mark | None:
    """`!` and `?`: a sentence, unless glued to what follows (`a?b=1`, `Yahoo!s`) or quoted inside one (`"Stop!" he said`)."""
    follows = text[end : end + 1]
    if follows.isspace():
        return (
            _unless_goes_on(text, end, is_final) if any(c in CLOSERS or c in QUOTES or c == "'" for c in text[at:end]) else _sentence(end)
        )
    is_glued = follows != "" and (follows in "=/&_#" or follows.isdigit() or follows.islower())
    if not is_glued and follows.isalpha() and not is_cjk(follows):
        is_glued = not _token_before(text, at).isalpha()
    return Mark(end, Strength.NONE if is_glued else Strength.SENTENCE)


def _sentence(end: int, certainty: Certainty = Certainty.SURE) -> Mark:
    return Mark(end, Strength.SENTENCE, certainty)


def _unless_goes_on(text: str, end: int, is_final: bool) -> Mark | None:
    """A sentence, or only a clause if the next word starts in lower case."""
    ahead = _skip_space(text, end)
    if ahead == len(text) and not is_final:
        return None
    return Mark(end, Strength.CLAUSE if text[ahead : ahead + 1].islower() else Strength.SENTENCE, Certainty.LIKELY)


def _skip_space(text: str, at: int) -> int:
    limit = min(len(text), at + LOOKAHEAD)
    while at < limit and text[at].isspace():
        at += 1
    return at


def _ellipsis(text: str, end: int, is_final: bool) -> Mark | None:
    """`……` and `...`: a sentence before a space and a capital or an ideograph, a pause otherwise."""
    follows = text[end : end + 1]
    if follows == "" or follows.isspace():
        return _unless_goes_on(text, end, is_final)
    return Mark(end, Strength.NONE if follows.isascii() and follows.isalnum() else Strength.CLAUSE)


def _dot(text: str, at: int, end: int, is_final: bool) -> Mark | None:
    """One full stop (with closers up to `end`). Most of what is known about abbreviations and numbers is here."""
    token = _token_before(text, at)
    follows = text[end : end + 1]
    if follows == "":  # only when final: the text's end closes everything, but tell what is certain
        return _sentence(end, _certainty_of_stop(text, at, token))
    if not follows.isspace():
        return _glued_dot(text, at, end, token, is_final)
    if end - at > 1 and _is_plain_word(token):
        return _unless_goes_on(text, end, is_final)
    if token.isdigit():
        return Mark(end, Strength.NONE) if _is_list_number(text, at, token) else _sentence(end)
    return _after_word(text, end, token.lower(), is_final)


def _certainty_of_stop(text: str, at: int, token: str) -> Certainty:
    """How likely a dot that nothing follows yet ends a sentence: not after `Dr`, perhaps after `1980` or `a.m`."""
    word = token.lower()
    if _is_plain_word(token) or _follows_cjk(text, at):
        return Certainty.LIKELY
    is_open = word in boundaries.TITLES or word in boundaries.NUMBERED or (len(word) < 2 and not word.isdigit()) or word == "www"
    return Certainty.UNSURE if is_open or _is_list_number(text, at, token) else Certainty.DOUBTFUL


def _follows_cjk(text: str, at: int) -> bool:
    return at > 0 and is_cjk(text[at - 1])


def _is_plain_word(token: str) -> bool:
    """Whether a dot after this token can hardly be anything but a full stop."""
    word = token.lower().strip("'’-")
    known = boundaries.TITLES | boundaries.MAYBE | boundaries.NUMBERED
    return len(word) > 1 and word.replace("'", "").replace("’", "").replace("-", "").isalpha() and word not in known and word != "www"


def _glued_dot(text: str, at: int, end: int, token: str, is_final: bool) -> Mark | None:
    """A dot with no space after it: part of a number, address or acronym, unless a whole new sentence seems to start."""
    follows = text[end]
    if is_cjk(follows):
        is_number = token[-1:].isdigit() and end - at == 1
        return Mark(end, Strength.NONE if is_number else Strength.SENTENCE)
    if _follows_cjk(text, at):
        return Mark(end, Strength.NONE if follows.isdigit() else Strength.SENTENCE)
    if not follows.isalnum():
        is_inside = follows in "@/\\_-=&%#?~+:;,'" or not _is_plain_word(token)
        return Mark(end, Strength.NONE if is_inside else Strength.SENTENCE)
    if not (follows.isupper() and _is_plain_word(token) and token[1:].islower()):
        return Mark(end, Strength.NONE)
    return _glued_sentence(text, end, token, is_final)


def _glued_sentence(text: str, end: int, token: str, is_final: bool) -> Mark | None:
    """`it.Thanks for` is two sentences whose space got lost; `System.Out.println` and `fmt.Println(x)` are names."""
    ahead = end
    while ahead < len(text) and ahead - end < _LONGEST_TOKEN and text[ahead].isalpha() and not is_cjk(text[ahead]):
        ahead += 1
    if ahead == len(text) and not is_final and ahead - end < _LONGEST_TOKEN:
        return None
    word, after = text[end:ahead], text[ahead : ahead + 1]
    if not (word.lower() in boundaries.STARTERS or (len(word) > 1 and word[1:].islower())):
        return Mark(end, Strength.NONE)
    if after == ".":
        beyond = text[ahead + 1 : ahead + 2]
        if beyond == "" and not is_final:
            return None
        is_sentence = beyond == "" or beyond.isspace() or (beyond.isupper() and token.islower())
    else:
        is_sentence = after in ",;!?'’" or after.isspace()
    return Mark(end, Strength.SENTENCE if is_sentence else Strength.NONE)


def _after_word(text: str, end: int, word: str, is_final: bool) -> Mark | None:
    """A dot and a space after a word: abbreviations need to see what follows, other words don't."""
    word = word.lstrip("'’-")
    if word in boundaries.TITLES:
        return Mark(end, Strength.NONE)
    is_letter = len(word) == 1 and word.isalpha()
    if word in boundaries.NUMBERED:
        ahead = _skip_space(text, end)
        if ahead == len(text) and not is_final:
            return None
        return Mark(end, Strength.NONE if text[ahead : ahead + 1].isdigit() else Strength.SENTENCE, Certainty.UNSURE)
    if is_letter or word in boundaries.MAYBE or _ACRONYM.match(word):
        return _if_starter(text, end, is_final)
    return _sentence(end)


def _if_starter(text: str, end: int, is_final: bool) -> Mark | None:
    """A sentence only if the next word is a capitalised word that sentences commonly start with, a quote, or a CJK character."""
    first = _skip_space(text, end)
    last = first
    while last < len(text) and last - first < _LONGEST_STARTER and (text[last].isalpha() or text[last] in "'’") and not is_cjk(text[last]):
        last += 1
    if last == len(text) and not is_final and last - first < _LONGEST_STARTER:
        return None
    follows = text[first : first + 1]
    is_start = follows == "" or is_cjk(follows) or follows in '\n“‘"'
    is_start = is_start or (follows.isupper() and text[first:last].lower().replace("’", "'") in boundaries.STARTERS)
    return Mark(end, Strength.SENTENCE if is_start else Strength.NONE, Certainty.UNSURE)


def _token_before(text: str, at: int) -> str:
    """What stands before a dot without a space: a word with its inner dots, apostrophes and hyphens, or an address."""
    first = at
    while first > 0 and at - first < _LONGEST_TOKEN:
        char = text[first - 1]
        if not (boundaries.is_word_char(char) or char in ".'’-@_/:") and not is_extender(char):
            break
        first -= 1
    return text[first:at]


def _is_list_number(text: str, at: int, token: str) -> bool:
    """Whether `12` of `12. Stir.` numbers a list item: short, and first of its line, after `:` or after a full stop."""
    if len(token) > 3 or not token.isdigit():
        return False
    before = text[max(0, at - len(token) - LOOKBEHIND // 2) : at - len(token)]
    lead = _LIST_LEAD.search(before)
    head = before[: lead.start()] if lead else before
    has_space = lead is not None and lead.group() != ""
    return head == "" or "\n" in before[len(head) :] or (has_space and (head[-1] in ":：" or head[-1] in _ANY_STOP))


def _clause(text: str, at: int, floor: int, is_final: bool) -> Mark | None:
    """Commas, colons, semicolons: a clause, unless inside a number, time, address or entity."""
    end = _run_end(text, at, floor, CLAUSES)
    if end == len(text) and not is_final:
        return None
    char, follows = text[at], text[end : end + 1]
    if at > 0 and text[at - 1].isdigit() and follows.isdigit():
        return Mark(end, Strength.NONE)
    if char in WEAK:
        return Mark(end, Strength.WEAK)
    if char.isascii() and follows and not follows.isspace() and not is_cjk(follows):
        return Mark(end, Strength.NONE)
    is_number = at > 0 and text[at - 1].isdigit()
    return Mark(end, Strength.CLAUSE, Certainty.UNSURE if is_number else Certainty.LIKELY if char == ":" else Certainty.SURE)
