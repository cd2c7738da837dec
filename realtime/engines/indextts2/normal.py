"""Text as people write it -> text as the model was trained on. Specification section 4.1, in its order of steps.

wetext does the numbers, dates and units. Deviations from the reference, on purpose: where the grammar fails, the text goes on as it
stands (the reference drops Chinese text then), and a toned syllable is not looked for before a further digit (`an12` is not `an1`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from wetext import Normalizer

from realtime.engines.indextts2.spanned import Vault, sub
from realtime.errors import ModelMissing
from realtime.text.edits import apply, differences
from realtime.text.normalize import LIBRARY_ERRORS
from realtime.types import SpokenText

_INITIALS = "zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw]"
_FINALS = "|".join(
    (
        "iang|iong|uang|üang|vang|ang|eng|ing|ong|iao|ian|uai|uan|üan|van",
        "ai|ei|ui|ao|ou|iu|ie|ue|üe|ve|er|an|en|in|un|ün|vn|ng|ia|ua|uo|[aoeiuüv]",
    )
)
PINYIN = re.compile(rf"(?<![a-z])(?:{_INITIALS})?(?:{_FINALS})[1-5](?!\d)", re.IGNORECASE)
"""A toned syllable, such as XUAN4, not preceded by a lower-case letter."""
MARK = re.compile(r"<([^<>|\s][^<>|]*)\|([^<>|]+)>")
"""An inline pronunciation: <word|pronunciation>."""
_IDEOGRAPH = re.compile(r"[\u4e00-\u9fff]")
_LETTER = re.compile(r"[A-Za-z]")
_EMAIL = re.compile(r"[A-Za-z0-9]+@[A-Za-z0-9]+\.[A-Za-z]+")
_CONTRACTION = re.compile(r"\b(what|where|who|which|how|there|here|it|she|he|that|this)['’]s\b", re.IGNORECASE)
_TERM = re.compile(r"\b[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)+")
_HYPHEN = "<H>"
_HYPHEN_BACK = re.compile(r"\s*<H>\s*")
_NAME = re.compile(r"[\u4e00-\u9fff]+·[\u4e00-\u9fff]+(?:[-·][\u4e00-\u9fff]+)*")
_JQX = re.compile(r"^([jqx])[uü](n|e|an)?([1-5])$", re.IGNORECASE)
_TRAILING = re.compile(r"\s+$")

_CHARACTERS: dict[str, str] = {
    **dict.fromkeys("：；;，、:", ","),
    "。": ".",
    "！": "!",
    "？": "?",
    "\n": " ",
    "·": "-",
    **dict.fromkeys(("...", ",,,", "，，，", "……"), "…"),
    **dict.fromkeys("“”\"‘’（）()《》【】[]「」'", "'"),
    **dict.fromkeys("—～~", "-"),
}
_CHARACTERS_ZH = {"$": ".", **_CHARACTERS}


class Glossary:
    """Terms and how they are spoken, per language: literal, any case, the longest first."""

    def __init__(self, terms: Mapping[str, str | Mapping[str, str]]) -> None:
        self.spoken: dict[str, dict[str, str]] = {"zh": {}, "en": {}}
        for term, value in terms.items():
            for language in self.spoken:
                spoken = value if isinstance(value, str) else value.get(language)
                if spoken is not None:
                    self.spoken[language][term.lower()] = spoken
        self.patterns = {
            language: re.compile("|".join(re.escape(t) for t in sorted(table, key=len, reverse=True)), re.IGNORECASE)
            for language, table in self.spoken.items()
            if table
        }

    @classmethod
    def read(cls, path: Path) -> Glossary:
        """A YAML file: term -> how it is spoken, or term -> {zh: ..., en: ...}. Raises `ModelMissing` naming the first wrong entry."""
        try:
            table: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ModelMissing(f"{path}: {error}") from None
        if not isinstance(table, dict):
            raise ModelMissing(f"{path}: expected terms with their spoken forms, found a {type(table).__name__}")
        for term, value in table.items():
            is_table = isinstance(value, dict) and set(value) <= {"zh", "en"} and all(isinstance(v, str) for v in value.values())
            if not isinstance(term, str) or not term or not (isinstance(value, str) or is_table):
                raise ModelMissing(f"{path}: {term!r}: expected a spoken form, or zh and en forms")
        return cls(table)

    def apply(self, text: SpokenText, language: str) -> SpokenText:
        """Every term replaced by its form in the language."""
        pattern = self.patterns.get(language)
        return sub(pattern, lambda m: self.spoken[language][m.group().lower()], text) if pattern else text


def language_path(text: str) -> str:
    """`zh` or `en`: which grammar reads the text."""
    is_chinese = _IDEOGRAPH.search(text) or not _LETTER.search(text) or _EMAIL.fullmatch(text.strip()) or PINYIN.search(text)
    return "zh" if is_chinese else "en"


def normalised(text: SpokenText, glossary: Glossary | None = None) -> SpokenText:
    """The whole of section 4.1; pronunciation marks come out as they went in."""
    marks = Vault(lambda letters: f"PRONPLACEHOLDER{letters.upper()}PRONPLACEHOLDER")
    text = marks.hide(MARK, text)
    language = language_path(_without(text.text, marks))
    text = sub(_CONTRACTION, lambda m: f"{m[1]} is", text)
    if glossary is not None:
        text = glossary.apply(text, language)
    text = sub(_TERM, lambda m: m.group().replace("-", _HYPHEN), text)
    text = _by_grammar_zh(text) if language == "zh" else by_grammar(text, "en")
    text = sub(_HYPHEN_BACK, "-", text)
    text = sub(_table_pattern(language), lambda m: _table(language)[m.group()], text)
    return marks.show(text)


def _by_grammar_zh(text: SpokenText) -> SpokenText:
    """The Chinese grammar, with toned syllables and foreign names held out of it."""
    names, syllables = Vault(lambda letters: f"<n_{letters}>"), Vault(lambda letters: f"<pinyin_{letters}>")
    text = syllables.hide(PINYIN, names.hide(_NAME, text))
    text = by_grammar(sub(_TRAILING, "", text), "zh")
    return syllables.show(names.show(text), corrected_pinyin)


def corrected_pinyin(syllable: str) -> str:
    """u after j, q, x is ü, written v in the model's vocabulary; those syllables come out in upper case, others as they are."""
    if syllable[0].lower() not in "jqx":
        return syllable
    return _JQX.sub(lambda m: f"{m[1]}v{m[2] or ''}{m[3]}", syllable).upper()


def by_grammar(text: SpokenText, language: str) -> SpokenText:
    """Numbers, dates, units and so on written out by wetext.

    The map is the difference of what went in and came out: the library's own trace costs 10 to 20 times the plain call (LOG).
    """
    try:
        spoken = _grammar(language).normalize(text.text)
    except LIBRARY_ERRORS:
        return text  # nothing is lost: the model is given the characters as they stand
    return apply(text, differences(text.text, spoken))


@lru_cache(maxsize=2)
def _grammar(language: str) -> Normalizer:
    return Normalizer(lang=language, operator="tn", remove_erhua=False)


def _table(language: str) -> Mapping[str, str]:
    return _CHARACTERS_ZH if language == "zh" else _CHARACTERS


@lru_cache(maxsize=2)
def _table_pattern(language: str) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(c) for c in _table(language)))


def _without(text: str, marks: Vault) -> str:
    """The text without placeholders, whose letters would decide the language; a mark's own word decides instead."""
    for placeholder, mark in marks.kept.items():
        match = MARK.fullmatch(mark.text)
        text = text.replace(placeholder, match[1] if match else "")
    return text
