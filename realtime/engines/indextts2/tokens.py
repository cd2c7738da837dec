"""Text -> vocabulary ids of the language model, each with the characters that it came from. Specification section 4.

Serving side: sentencepiece and wetext, no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sentencepiece

from realtime.engines.indextts2.normal import MARK, PINYIN, Glossary, corrected_pinyin, normalised
from realtime.engines.indextts2.pieces import segments
from realtime.engines.indextts2.spanned import sub
from realtime.errors import BadText, ModelMissing
from realtime.text.edits import Edit, apply
from realtime.types import Span, SpokenText

DEFAULT_LIMIT = 120
"""Pieces of one segment; the reference's default. The model's own bound is `max_text_tokens` (600 officially)."""
_ALONE = re.compile("[\u1100-\u11ff\u2e80-\ua4cf\ua840-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff65-\uffdc\U00020000-\U0002ffff]")
"""Characters that stand alone between spaces: the vocabulary has no pieces of several."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One vocabulary piece: its id, its written form, and the source characters behind it."""

    id: int
    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class TokenSegment:
    """Pieces that are said in one go, without start and stop ids."""

    pieces: tuple[Piece, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """What the language model is given."""
        return tuple(p.id for p in self.pieces)

    @property
    def span(self) -> Span:
        """The source characters from the first piece's to the last one's."""
        return Span(min(p.span.start for p in self.pieces), max(p.span.end for p in self.pieces))


class TextFrontEnd:
    """Normaliser, vocabulary and segment limits of one model.

    `vocabulary` is the content of `bpe.model`. Raises `ModelMissing` if it is no sentencepiece model or not of `size` pieces with start
    and stop first.
    """

    def __init__(self, vocabulary: bytes, size: int, glossary: Glossary | None = None, limit: int = DEFAULT_LIMIT, first: int = 0) -> None:
        self.glossary, self.limit, self.first = glossary, limit, first
        self.processor = sentencepiece.SentencePieceProcessor()
        try:
            self.processor.LoadFromSerializedProto(vocabulary)
        except RuntimeError as error:
            raise ModelMissing(f"bpe.model: not a sentencepiece model: {str(error).splitlines()[0]}") from None
        found = self.processor.vocab_size()
        if found != size:
            raise ModelMissing(f"bpe.model has {found} pieces, the language model was trained with {size}: it is of another version")
        ends = [self.processor.piece_to_id(p) for p in ("<s>", "</s>")]
        if ends != [0, 1]:
            raise ModelMissing(f"bpe.model: <s> and </s> have the ids {ends}, expected 0 and 1: it is of another version")

    def encode(self, text: str, at: int = 0) -> list[TokenSegment]:
        """Segments of a text whose first character is at source position `at`; none if nothing in it can be said.

        Raises `BadText` for lone surrogates.
        """
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise BadText("the text holds lone surrogates")
        pieces = self.pieces(SpokenText.verbatim(text, at))
        ranges = segments([p.text for p in pieces], self.limit, self.first)
        found = (TokenSegment(tuple(pieces[start:end])) for start, end in ranges)
        return [segment for segment in found if any(c.isalnum() for p in segment.pieces for c in p.text)]

    def pieces(self, text: SpokenText) -> list[Piece]:
        """Sections 4.1 and 4.2: normalised, spaced, upper-cased, cut into vocabulary pieces; start and stop ids never occur."""
        if len("".join(text.text.split())) == 1:
            return self._cut(text)
        return self._cut(upper(spaced(spoken_marks(normalised(text, self.glossary)))))

    def _cut(self, text: SpokenText) -> list[Piece]:
        found = self.processor.encode(text.text, out_type="offset_mapping")
        rows = zip(found["ids"], found["pieces"], found["offsets"], strict=True)
        return [Piece(i, piece, text.source_span(Span(*span))) for i, piece, span in rows if i not in (0, 1)]


def spoken_marks(text: SpokenText) -> SpokenText:
    """`<word|pronunciation>` with toned syllables becomes those syllables; with anything else, of which the vocabulary knows nothing,
    the word itself."""

    def spoken(match: re.Match[str]) -> str:
        syllables = match[2].split()
        if syllables and all(PINYIN.fullmatch(s) for s in syllables):
            return " ".join(["", *(corrected_pinyin(s).upper() for s in syllables), ""])
        return match[1]

    return sub(MARK, spoken, text)


def spaced(text: SpokenText) -> SpokenText:
    """Every character of `_ALONE` between single spaces, other runs stripped, none at the ends."""
    edits: list[Edit] = []
    end = 0
    for first, last in _runs(text.text):
        edits.append(Edit(end, first, " " if edits else ""))
        end = last
    return apply(text, [*edits, Edit(end, len(text.text), "")])


def _runs(text: str) -> list[tuple[int, int]]:
    """Ranges of the characters that stand alone and of what is between them, without blanks around and none that is blank."""
    runs: list[tuple[int, int]] = []
    at = 0
    for match in _ALONE.finditer(text):
        runs += [(at, match.start()), match.span()]
        at = match.end()
    found = []
    for start, end in [*runs, (at, len(text))]:
        run = text[start:end]
        if run.strip():
            found.append((start + len(run) - len(run.lstrip()), start + len(run.rstrip())))
    return found


def upper(text: SpokenText) -> SpokenText:
    """Upper case; the few characters that become several share the place of one."""
    return apply(text, [Edit(i, i + 1, c.upper()) for i, c in enumerate(text.text) if c.upper() != c])
