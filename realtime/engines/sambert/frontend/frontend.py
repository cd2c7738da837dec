"""The whole way from a text to lines of symbols. Pure, and the same for every voice; a line costs 1-4 ms.

Unknown characters: letters of other scripts are read through their Latin transliteration; everything else that no rule can speak
(emoji, private characters) is left out and counted in `Reading.unspoken`. An inline mark whose reading can't be understood is read as
if it were not marked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from realtime.engines.sambert.frontend import dictionary, english, pinyin, sandhi, words
from realtime.engines.sambert.frontend.erhua import is_full, merge
from realtime.engines.sambert.frontend.lexicon import Lexicon, understand
from realtime.engines.sambert.frontend.lines import CLAUSE_BREAK, SENTENCE_BREAK, WORD_BREAK, Line, Reading, SpokenWord, cut
from realtime.engines.sambert.frontend.scan import Item, Kind, scan
from realtime.engines.sambert.frontend.syllables import symbols_of
from realtime.engines.sambert.frontend.units import Hanzi, ProsodicWord, Syllable, Word
from realtime.text.edits import Edit, apply
from realtime.text.normalize import normalize, warm_up
from realtime.types import Span, SpokenText

PLACEHOLDER = "词"
"""Stands in for a lexicon word inside a pronunciation mark while numbers around it are written out."""


class Frontend:
    """Text to `Reading`; holds the user's lexicon and nothing else."""

    def __init__(self, lexicon: Lexicon | None = None) -> None:
        self._lexicon = lexicon or Lexicon()

    def warm_up(self) -> None:
        """Load every dictionary now (about 1.5 s) instead of at the first line."""
        warm_up()
        dictionary.warm_up()
        english.warm_up()
        self.read("你好，hello 123。", "zh")

    def read(self, text: str, language: str) -> Reading:
        """Lines of a text in `zh` or `en` (either may hold the other). Never raises, whatever the text."""
        spoken = SpokenText.verbatim(text)
        readings: list[str] = []
        edits = []
        # What tells our marks from the user's: a character that is nowhere in the text.
        ours = next(char for char in map(chr, range(0xE000, 0xF8FF)) if char not in text)
        for start, end, reading in self._lexicon.mark(text):
            edits.append(Edit(start, end, f"<{PLACEHOLDER}|{ours}{len(readings)}>"))
            readings.append(reading)
        spoken = normalize(apply(spoken, edits), language)
        unspoken: Counter[str] = Counter()
        items = scan(spoken.text, language, unspoken, pinyin.is_readable, ours)
        builder = _Builder(spoken, {f"{ours}{i}": reading for i, reading in enumerate(readings)}, language)
        builder.add_all(items)
        return Reading(tuple(builder.finish()), unspoken)


class _Builder:
    """Collects prosodic words until a sentence ends. Positions of words are of the normalised text until they are kept."""

    def __init__(self, spoken: SpokenText, readings: Mapping[str, str], language: str) -> None:
        self._spoken, self._readings, self._language = spoken, readings, language
        self._phrase: list[Word] = []
        self._words: list[SpokenWord] = []
        self._lines: list[Line] = []

    def add_all(self, items: Iterable[Item]) -> None:
        for item in items:
            if item.kind is Kind.HAN:
                self._phrase += words.segment(item.text, item.start)
            elif item.kind is Kind.GIVEN:
                self._given(item)
            elif item.kind is Kind.LATIN:
                self._latin(item)
            else:
                self._mark(item)

    def finish(self) -> list[Line]:
        self._end_phrase()
        self._end_sentence(is_end=True)
        return self._lines

    def _given(self, item: Item) -> None:
        understood = understand(self._readings.get(item.reading, item.reading))
        if understood is None:
            inner = scan(item.text, self._language, Counter(), pinyin.is_readable)
            self.add_all(Item(one.kind, one.text, one.start + item.start, one.end + item.start) for one in inner)
            return
        syllables, phones = understood
        if phones is not None:
            self._end_phrase()
            self._keep(english.syllabify(phones, item.start, item.end))
        else:
            assert syllables is not None
            size, count = item.end - item.start, len(syllables)
            given = [
                Hanzi(PLACEHOLDER, plain, tone, item.start + k * size // count, item.start + (k + 1) * size // count, is_given=True)
                for k, (plain, tone) in enumerate(syllables)
            ]
            self._phrase.append(Word(item.text, "n", item.start, given, is_given=True))

    def _latin(self, item: Item) -> None:
        self._end_phrase()
        size = item.end - item.start
        for start, end, phones in english.words_of(item.text):
            # A transliteration is longer or shorter than its source; its words share the source's characters.
            span = (item.start + start * size // len(item.text), item.start + end * size // len(item.text))
            self._keep(english.syllabify(phones, *span))

    def _mark(self, item: Item) -> None:
        self._end_phrase()
        if self._words:
            last = self._words.pop()
            level = CLAUSE_BREAK if item.kind is Kind.CLAUSE else SENTENCE_BREAK
            self._words.append(SpokenWord(last.word, last.span, last.syllable_spans, level, self._source(item.start, item.end)))
        if item.kind is Kind.SENTENCE:
            self._end_sentence(is_end=True)

    def _end_phrase(self) -> None:
        if not self._phrase:
            return
        phrase, self._phrase = self._phrase, []
        pinyin.read(phrase)
        sandhi.apply_to_phrase(phrase)
        sandhi.neutral_negations(phrase)
        full = {id(one): is_full(word.text, k) for word in phrase if not word.is_given for k, one in enumerate(word.readings)}
        for chars in words.prosodic_words(phrase):
            sandhi.third_tones(chars)
            merged = merge(chars, [full.get(id(one), True) for one in chars])
            self._keep([_syllable(one) for one in merged])

    def _keep(self, syllables: list[Syllable]) -> None:
        if not syllables:
            return
        word = ProsodicWord(tuple(syllables))
        spans = tuple(self._source(one.start, one.end) for one in syllables)
        end = self._source(word.end, word.end)
        self._words.append(SpokenWord(word, self._source(word.start, word.end), spans, WORD_BREAK, end))

    def _end_sentence(self, *, is_end: bool) -> None:
        self._lines += cut(self._words, is_end)
        self._words = []

    def _source(self, start: int, end: int) -> Span:
        return self._spoken.source_span(Span(start, end))


def _syllable(one: Hanzi) -> Syllable:
    pair = symbols_of(one.pinyin)
    assert pair is not None, f"reading {one.pinyin!r} of {one.char!r} was checked when it was looked up"
    return Syllable(pair, one.tone, one.start, one.end)
