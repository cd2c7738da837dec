"""One exported voice, loaded: its graphs, tables and numbers, and the way from symbols to a score.

A *score* is all that is known of a line before any frame is decoded: frames per symbol, so every time in it is final.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.engines.sambert.decoding import Decoder, DecoderState, Memory
from realtime.engines.sambert.dims import AcousticDims, VocoderDims, acoustic_dims, vocoder_dims
from realtime.engines.sambert.postnet import PostnetStream
from realtime.engines.sambert.regulate import Ints, band_width, pack, repetitions
from realtime.engines.sambert.sessions import Graph, OrtGraph
from realtime.engines.sambert.source import SineSource, denormalise
from realtime.engines.sambert.symbols import Symbol, Vocabulary
from realtime.engines.sambert.vocode import VocoderStream, open_stream
from realtime.errors import BadText, EngineFailed, ModelMissing
from realtime.models import manifest

Array = npt.NDArray[np.float32]

FAST_VOCODER = "vocoder_int8"
"""An extra graph that some voices have: the level `fast`."""
LEVELS = ("standard", "fast")
GRAPHS = ("text_encoder", "variance", "durations", "memory", "decoder_step", "postnet", "vocoder")
NEUTRAL = "emotion_neutral"
MAX_LINE_S = 180.0
"""A line has at most some 120 symbols, 15 s of speech, 30 s at half speed; longer than this is a damaged voice. Bounds memory."""


@dataclass(frozen=True)
class Manner:
    """How to say a line. Offsets are added to the voice's normalised pitch and energy; `strength` blends from neutral to `emotion`."""

    speed: float = 1.0
    pitch: float = 0.0
    energy: float = 0.0
    emotion: str | None = None
    strength: float = 1.0


@dataclass(frozen=True, eq=False)
class Score:
    """A line before it is decoded: frames per symbol [T], and what the decoder's memory is packed of (text, speaker, emotion [T,*])."""

    reps: Ints
    band: int
    parts: tuple[Array, Array, Array]

    def packed(self, r: int) -> Array:
        """The decoder's memory [M,D]; made when a line is spoken, a plan alone does not need it."""
        return pack(*self.parts, self.reps, r)

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.reps.nbytes + sum(part.nbytes for part in self.parts)

    @property
    def frames(self) -> int:
        """Mel frames in all."""
        return int(self.reps.sum())

    @property
    def starts(self) -> Ints:
        """First frame of each symbol, and the end: [T+1]."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.reps)])


class Voice:
    """Graphs and tables of one speaker; holds no state of any job."""

    def __init__(self, about: manifest.Manifest, graphs: Mapping[str, Graph], constants: Mapping[str, Array]) -> None:
        """Raises `ModelMissing` when the manifest lacks something or a graph is missing."""
        try:
            details = about.details
            self.acoustic: AcousticDims = acoustic_dims(_plain(details["acoustic"]), f"{about.name}: manifest")
            self.vocoder: VocoderDims = vocoder_dims(_vocoder_params(details["vocoder"]), f"{about.name}: manifest")
            self.vocabulary = Vocabulary(details["tables"])
            self.postnet_delay = int(details["postnet_delay"])
            self.emotions = tuple(str(name) for name in details["emotions"])
        except (KeyError, TypeError) as error:
            raise ModelMissing(f"{about.name}: the manifest lacks {error}; export the voice again") from error
        for name in GRAPHS:
            if name not in graphs:
                raise ModelMissing(f"{about.name}: graph {name} is missing; export the voice again")
        self.name, self.revision, self.sample_rate, self.languages = about.name, about.revision, about.sample_rate, about.languages
        self.graphs, self._constants = graphs, constants
        self.decoder = Decoder(graphs["decoder_step"], self.acoustic.num_mels)

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> Voice:
        """From an exported folder. `threads` for the encoder and the vocoder; the loops always run on one.

        Raises `ModelMissing` naming the first file that is missing, truncated or unreadable.
        """
        about = manifest.read(folder)
        if about.engine != "sambert":
            raise ModelMissing(f"{folder}: exported for engine {about.engine!r}, not sambert")
        loops = {"durations", "decoder_step", "memory", "postnet"}
        names = (*GRAPHS, FAST_VOCODER) if f"{FAST_VOCODER}.onnx" in about.files else GRAPHS
        graphs = {name: OrtGraph(folder / f"{name}.onnx", 1 if name in loops else threads) for name in names}
        try:
            with np.load(folder / "constants.npz", allow_pickle=False) as opened:
                constants = {name: opened[name] for name in opened.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ModelMissing(f"{folder / 'constants.npz'}: not readable ({error}); export the voice again") from error
        return cls(about, graphs, constants)

    @property
    def levels(self) -> tuple[str, ...]:
        """Quality levels, best first."""
        return LEVELS if FAST_VOCODER in self.graphs else LEVELS[:1]

    @property
    def hop(self) -> int:
        """Samples per mel frame."""
        return self.vocoder.hop

    # --- before decoding ---

    def score(self, symbols: Sequence[Symbol], manner: Manner, durations: Array | None = None) -> Score:
        """Time a line. `durations` [T] in frames replace the predicted ones.

        Raises `BadText` for symbols that the voice lacks or a line beyond the position table, `EngineFailed` for durations that no
        speech has.
        """
        ids = self.vocabulary.encode(symbols)
        ling = np.stack([ids[name] for name in ("sy", "tone", "syllable_flag", "word_segment")], axis=-1)[None]
        if ling.shape[1] > self.acoustic.max_len:
            raise BadText(f"a line of {ling.shape[1]} symbols; the voice speaks at most {self.acoustic.max_len} at once")
        speaker, emotion = self.speaker_rows(ids["speaker_category"]), self._emotion(ids["emo_category"], manner)
        (text_hid,) = self.graphs["text_encoder"].run({"ling": ling})
        shape = ling.shape[:2]
        feeds = {
            "text_hid": text_hid,
            "spk_hid": speaker[None],
            "emo_hid": emotion[None],
            "pitch_offset": np.full(shape, manner.pitch, np.float32),
            "energy_offset": np.full(shape, manner.energy, np.float32),
        }
        _, _, text_aug, gates = self.graphs["variance"].run(feeds)
        if durations is None:
            (log_duration,) = self.graphs["durations"].run({"gates": gates})
            durations = (np.exp(log_duration) - np.float32(1)) / np.float32(manner.speed)
        if not np.isfinite(durations).all() or float(durations.sum()) * self.hop > MAX_LINE_S * self.sample_rate:
            raise EngineFailed(f"voice {self.name}: implausible durations for a line of {len(symbols)} symbols; the voice may be damaged")
        reps = repetitions(durations)
        return Score(reps, band_width(durations, self.acoustic.outputs_per_step), (text_aug[0], speaker, emotion))

    def speaker_rows(self, ids: Ints) -> Array:
        """Speaker vectors [T,units] of speaker ids [T]; speaker-embedding voices have one vector for all."""
        if self.acoustic.SE:
            return np.repeat(self._constants["speaker_embedding"][None], ids.shape[0], axis=0)
        out: Array = self._constants["speaker"][ids]
        return out

    def _emotion(self, ids: Ints, manner: Manner) -> Array:
        table = self._constants["emotion"]
        neutral = self.vocabulary.tables["emo_category"].index(NEUTRAL)
        rows: Array = table[ids]
        if manner.strength < 1.0:
            # Between the neutral row and the emotion's, for the symbols that carry the emotion (not for breaks).
            coloured = (ids != self.vocabulary.tables["emo_category"].index("emotion_none"))[:, None]
            rows = np.where(coloured, table[neutral] + np.float32(manner.strength) * (rows - table[neutral]), rows).astype(np.float32)
        return rows

    # --- decoding ---

    def memory(self, score: Score) -> Memory:
        """Keys, values and inputs of every decoder step of a line."""
        return Memory.of(self.graphs["memory"], score.packed(self.acoustic.outputs_per_step))

    def decoder_state(self, score: Score, memory: Memory, first: int = 0) -> DecoderState:
        """A decode of a line, from memory row `first` on."""
        return DecoderState(memory, score.band, score.band, self.acoustic.num_mels, first)

    def postnet_stream(self, frames: int) -> PostnetStream:
        """The postnet for a line of `frames` frames."""
        return PostnetStream(self.graphs["postnet"], frames, self.postnet_delay)

    def vocoder_graph(self, level: str) -> Graph:
        """The generator at a quality level; state fits all levels, so it may change between chunks."""
        return self.graphs[FAST_VOCODER if level == LEVELS[1] else "vocoder"]

    def vocoder_stream(self, seed: int, level: str = LEVELS[0]) -> VocoderStream:
        """The generator for a line; `seed` fixes the random phases and noise of NSF voices."""
        return open_stream(self.vocoder_graph(level), self.vocoder, self.sine_source(seed))

    def sine_source(self, seed: int) -> SineSource | None:
        """What excites the generator of an NSF voice; None for others."""
        if not self.vocoder.is_nsf:
            return None
        weight, bias = self._constants["source_weight"], float(self._constants["source_bias"][0])
        return SineSource(weight, bias, self.vocoder.sampling_rate, self.hop, seed)

    def mel_of(self, score: Score) -> Array:
        """A line's whole mel [L,num_mels]: decoder and postnet, no sound."""
        state, stream, parts = self.decoder_state(score, self.memory(score)), self.postnet_stream(score.frames), []
        while not state.is_done:
            parts.append(self.decoder.step([state])[0])
        return stream.push(np.concatenate(parts))

    def vocoder_input(self, mel: Array) -> Array:
        """mel [n,num_mels] as the acoustic model makes it -> what the vocoder takes (F0 in Hz for NSF voices)."""
        if not self.vocoder.is_nsf:
            return mel[:, : self.vocoder.in_channels]
        scale, offset = self._constants["f0_scale"]
        return denormalise(mel, float(scale), float(offset))


def _plain(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}


def _vocoder_params(table: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest keeps the checked fields; the reader wants the published nesting."""
    flat = dict(table)
    nsf = {key: flat.pop(key) for key in ("nb_harmonics", "sampling_rate")}
    slope = {"negative_slope": flat.pop("slope")}
    return {**flat, "nonlinear_activation_params": slope, **({"nsf_params": nsf} if nsf["nb_harmonics"] is not None else {})}
