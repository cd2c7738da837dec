"""The symbol inventories and the way from a symbol string to id streams (specification 4).

A symbol is `{sy$tone$syllable_flag$word_segment$emotion$speaker}`; symbols stand apart by one space. Each of the six fields has its
table: the entries in a fixed order, then `_` (padding), `~` (end) and, in most archives, `@[MASK]`. Ids 0..n-1 never move, whether or
not a table has the mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realtime.errors import BadText, ModelMissing

PHONES = (
    "a_c ai_c an_c ang_c ao_c b_c c_c ch_c d_c e_c ei_c en_c eng_c er_c "
    "f_c g_c h_c i_c ia_c ian_c iang_c iao_c ie_c ih_c ii_c in_c ing_c io_c iong_c iou_c "
    "j_c k_c l_c m_c n_c o_c ong_c ou_c p_c q_c r_c s_c sh_c t_c "
    "u_c ua_c uai_c uan_c uang_c uei_c uen_c ueng_c uo_c v_c van_c ve_c vn_c xx_c z_c zh_c "
    "w_c y_c ga ge go "
    "aa ae ah ao aw ay b ch d dh eh er ey f g hh ih iy jh k "
    "l m n ng ow oy p r s sh t th uh uw v w y z zh "
    "air_c angr_c anr_c aor_c ar_c eir_c engr_c enr_c iangr_c ianr_c iaor_c iar_c ier_c ihr_c iir_c "
    "ingr_c inr_c iongr_c iour_c ir_c ongr_c or_c our_c uair_c uangr_c uanr_c uar_c ueir_c uenr_c uor_c ur_c "
    "vanr_c ver_c vnr_c vr_c pau"
).split()
BREAKS = ("#1", "#2", "#3", "#4")
TONES = "tone1 tone_none tone4 tone2 tone3 tone5 tone0".split()
SYLLABLE_FLAGS = "s_begin s_end s_none s_both s_middle".split()
WORD_SEGMENTS = "word_begin word_end word_middle word_both word_none".split()
EMOTIONS = (
    "none neutral angry disgust fear happy sad surprise calm gentle relax lyrical serious disgruntled satisfied disappointed "
    "excited anxiety jealousy hate pity pleasure arousal dominance placeholder1 placeholder2 placeholder3 placeholder4 "
    "placeholder5 placeholder6 placeholder7 placeholder8 placeholder9"
).split()

FIELDS = ("sy", "tone", "syllable_flag", "word_segment", "emo_category", "speaker_category")
SPECIALS = ("_", "~", "@[MASK]")
END = "~"
# The closed front end always writes this speaker; voices of one speaker were trained with it.
FIRST_SPEAKER = "F7"

BUILT_IN: dict[str, tuple[str, ...]] = {
    "sy": (*PHONES, *BREAKS),
    "tone": tuple(TONES),
    "syllable_flag": tuple(SYLLABLE_FLAGS),
    "word_segment": tuple(WORD_SEGMENTS),
    "emo_category": tuple(f"emotion_{name}" for name in EMOTIONS),
}
DICT_FILES = {
    "sy": "sy_dict.txt",
    "tone": "tone_dict.txt",
    "syllable_flag": "syllable_flag_dict.txt",
    "word_segment": "word_segment_dict.txt",
    "emo_category": "emo_category_dict.txt",
    "speaker_category": "speaker_dict.txt",
}


@dataclass(frozen=True, slots=True)
class Symbol:
    """One unit of the acoustic model's input, fields as they stand in the string."""

    sy: str
    tone: str
    flag: str
    word: str
    emotion: str
    speaker: str

    def __str__(self) -> str:
        return "{" + "$".join((self.sy, self.tone, self.flag, self.word, self.emotion, self.speaker)) + "}"

    @property
    def is_break(self) -> bool:
        """Whether this marks a boundary (`#1`..`#4`) instead of a phone."""
        return self.sy.startswith("#")


def parse(text: str) -> list[Symbol]:
    """Read a symbol string; a trailing space is normal. Raises `BadText` for a symbol that is not six fields in braces."""
    out = []
    for part in text.split():
        fields = part[1:-1].split("$") if part.startswith("{") and part.endswith("}") else []
        if len(fields) != len(FIELDS):
            raise BadText(f"{part!r} is not a symbol of the form {{{'$'.join(FIELDS)}}}")
        out.append(Symbol(*fields))
    return out


class Vocabulary:
    """The six tables of one voice."""

    def __init__(self, tables: Mapping[str, Sequence[str]]) -> None:
        """`tables`: the entries of each field without the specials, order = id."""
        self.tables = {name: tuple(tables[name]) for name in FIELDS}
        self._ids = {name: {entry: i for i, entry in enumerate(entries)} for name, entries in self.tables.items()}
        speakers = self.tables["speaker_category"]
        self.default_speaker = FIRST_SPEAKER if FIRST_SPEAKER in speakers else speakers[0]

    @classmethod
    def of_speakers(cls, speakers: str) -> Vocabulary:
        """The built-in tables with a comma-separated `speaker_list`."""
        return cls({**BUILT_IN, "speaker_category": tuple(name.strip() for name in speakers.split(",") if name.strip())})

    def table(self, name: str, *, has_mask: bool = True) -> list[str]:
        """All rows of a field's embedding table, specials included."""
        return [*self.tables[name], *(SPECIALS if has_mask else SPECIALS[:2])]

    def encode(self, symbols: Iterable[Symbol], *, with_end: bool = False) -> dict[str, npt.NDArray[np.int64]]:
        """Ids of each field, [T] (or [T+1] with the final `~`). Raises `BadText` for a symbol that the voice does not have."""
        columns: dict[str, list[int]] = {name: [] for name in FIELDS}
        for at, one in enumerate(symbols):
            for name, entry in zip(FIELDS, (one.sy, one.tone, one.flag, one.word, one.emotion, one.speaker), strict=True):
                found = self._ids[name].get(entry)
                if found is None:
                    raise BadText(f"symbol {at} {one}: this voice has no {name} {entry!r}")
                columns[name].append(found)
        if with_end:
            for name in FIELDS:
                columns[name].append(len(self.tables[name]) + SPECIALS.index(END))
        return {name: np.asarray(ids, np.int64) for name, ids in columns.items()}

    def check_rows(self, rows: Mapping[str, int], where: str) -> None:
        """Compare table lengths with embedding row counts of the weights: entries + 2, or + 3 with the mask.

        Raises `ModelMissing` naming the first field that disagrees.
        """
        for name, count in rows.items():
            have = len(self.tables[name])
            if count - have not in (2, 3):
                raise ModelMissing(
                    f"{where}: the {name} table has {have} entries, but its embedding {count} rows (expected {have + 2} or {have + 3})"
                )


def read_dict_file(text: str) -> tuple[str, ...]:
    """Entries of a `dict/*.txt` (one per line, order = id), without the internal `@` prefix and the specials that some files carry."""
    entries = [line.strip().removeprefix("@") for line in text.splitlines()]
    return tuple(entry for entry in entries if entry and entry not in ("_", "~", "[MASK]"))
