"""A voice pack: everything that serving needs of an enrolled speaker, in one safetensors file. No torch.

Tensors, float32 unless said (float16 is widened on reading); n latents, D model width, Tm prompt frames:

    speaker_latents [n, D]     speed_rows [2, D]          emotion_vector [D]      emotion_rows [8, D] (optional)
    style [S]                  ref_mel [mels, Tm]         prompt_condition [Tm, C]
    emotion.NAME.vector [D]    emotion.NAME.keys / .values [layers, heads, n + 2, head_dim] (optional)

What the file is for is in its metadata under `voice`, as JSON. The n + 2 condition rows come first in every sequence and attention is
causal, so their keys and values depend on voice and emotion alone (specification section 16). Official sizes: 8.4 MB per emotion for
those, 3 kB per prompt frame.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from realtime.engines.base import VoiceInfo
from realtime.engines.indextts2 import emotion as emotions
from realtime.errors import BadOption, ModelMissing
from realtime.types import Emotion

log = logging.getLogger(__name__)
Floats = npt.NDArray[np.float32]
FORMAT = 1
SUFFIX = ".voice.safetensors"
DEFAULT = "default"
"""The emotion of the speaker's own clip, which every pack has."""
STRENGTH_STEP = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class EmotionState:
    """One enrolled emotion: its vector [D], and the condition rows' keys and values [layers, heads, n + 2, head_dim] if cached."""

    vector: Floats
    keys: Floats | None = None
    values: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """The first rows of a sequence [n + 2, D], and their cached keys and values where the pack has them for just these."""

    rows: Floats
    keys: Floats | None = None
    values: Floats | None = None

    @property
    def cached(self) -> tuple[Floats, Floats] | None:
        """Keys and values, where there are both."""
        return None if self.keys is None or self.values is None else (self.keys, self.values)


@dataclass(frozen=True, slots=True)
class About:
    """What a pack says of itself. `revision` names the weights it was enrolled with; `consent` is what the enroller confirmed."""

    name: str
    revision: str = ""
    languages: tuple[str, ...] = ("zh", "en")
    description: str = ""
    gender: str | None = None
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    consent: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class VoicePack:
    """An enrolled speaker; see the module's text for the shapes."""

    about: About
    speaker_latents: Floats
    speed_rows: Floats
    style: Floats
    ref_mel: Floats
    prompt_condition: Floats
    emotions: Mapping[str, EmotionState]
    emotion_rows: Floats | None = None

    def __post_init__(self) -> None:
        latents, dim = _shape(self.speaker_latents, 2, "speaker_latents")
        frames = _shape(self.ref_mel, 2, "ref_mel")[1]
        if self.speed_rows.shape != (2, dim):
            raise ValueError(f"speed_rows is {self.speed_rows.shape}, speaker_latents {self.speaker_latents.shape}")
        if _shape(self.prompt_condition, 2, "prompt_condition")[0] != frames:
            raise ValueError(f"prompt_condition has {len(self.prompt_condition)} frames, ref_mel {frames}")
        _shape(self.style, 1, "style")
        if self.emotion_rows is not None and self.emotion_rows.shape != (len(emotions.NAMES), dim):
            raise ValueError(f"emotion_rows is {self.emotion_rows.shape}, expected ({len(emotions.NAMES)}, {dim})")
        if DEFAULT not in self.emotions:
            raise ValueError(f"emotion {DEFAULT!r} is missing")
        for name, state in self.emotions.items():
            if state.vector.shape != (dim,):
                raise ValueError(f"emotion {name!r} is {state.vector.shape}, expected ({dim},)")
            cached = [None if part is None else part.shape for part in (state.keys, state.values)]
            if cached[0] != cached[1] or (cached[0] is not None and (len(cached[0]) != 4 or cached[0][2] != latents + 2)):
                raise ValueError(f"cached keys and values of {name!r} are {cached}, expected [layers, heads, {latents + 2}, width] twice")
        for name, tensor in self._tensors().items():
            if not np.isfinite(tensor).all():
                raise ValueError(f"{name} holds values that are not finite")

    # ask

    @property
    def prompt_frames(self) -> int:
        """Mel frames of the prompt; each costs the flow decoder as much as a frame of sound."""
        return int(self.ref_mel.shape[1])

    def info(self) -> VoiceInfo:
        """The voice as the service lists it."""
        a = self.about
        return VoiceInfo(a.name, a.languages, a.description, a.gender, self.emotion_names(), dict(a.stand_ins))

    def emotion_names(self) -> tuple[str, ...]:
        """What `Emotion.name` may be: enrolled ones, then the eight of the emotion matrix where the pack has it."""
        return (*self.emotions, *(() if self.emotion_rows is None else (n for n in emotions.NAMES if n not in self.emotions)))

    def conditions(self, emotion: Emotion | None = None) -> Conditions:
        """The rows that say who speaks and how. Raises `BadOption` for an emotion that this voice has not."""
        if emotion is None:
            return self._enrolled(DEFAULT)
        if not 0 <= emotion.strength <= 1:
            raise BadOption(f"emotion strength must be between 0 and 1, got {emotion.strength}")
        if emotion.vector is not None:
            return Conditions(self._rows(self._weighted(_checked(emotion.vector), emotion.strength)))
        name = emotion.name or DEFAULT
        if name in self.emotions:
            return self._enrolled(name, emotion.strength)
        if name in emotions.NAMES:
            one_hot = tuple(float(n == name) for n in emotions.NAMES)
            return Conditions(self._rows(self._weighted(emotions.balanced(one_hot), emotion.strength)))
        raise BadOption(f"voice {self.about.name!r} has no emotion {name!r}; it has: {', '.join(self.emotion_names())}")

    def capped(self, frames: int) -> VoicePack:
        """The same voice with at most `frames` prompt frames, the first ones, in mel and condition alike."""
        if frames >= self.prompt_frames:
            return self
        return replace(self, ref_mel=self.ref_mel[:, :frames], prompt_condition=self.prompt_condition[:frames])

    def require(self, revision: str, dim: int, style: int, content: int) -> None:
        """Raise `ModelMissing` unless the pack was enrolled with these weights."""
        found = (self.speaker_latents.shape[1], len(self.style), self.prompt_condition.shape[1])
        if found != (dim, style, content) or (revision and self.about.revision and revision != self.about.revision):
            raise ModelMissing(
                f"voice {self.about.name!r} was enrolled with other weights (revision {self.about.revision or 'unknown'}, sizes {found}; "
                f"the model is {revision or 'unknown'}, {(dim, style, content)}); run `realtime voices add {self.about.name} CLIP` again"
            )

    # private

    def _enrolled(self, name: str, strength: float = 1.0) -> Conditions:
        state, base = self.emotions[name], self.emotions[DEFAULT].vector
        if name == DEFAULT or strength > 1 - STRENGTH_STEP:
            return Conditions(self._rows(state.vector), state.keys, state.values)
        return Conditions(self._rows(base + np.float32(strength) * (state.vector - base)))

    def _weighted(self, weights: tuple[float, ...], strength: float) -> Floats:
        if self.emotion_rows is None:
            raise BadOption(f"voice {self.about.name!r} takes no emotion weights: it was enrolled without the emotion matrix")
        return emotions.mixed(emotions.scaled(weights, strength), self.emotion_rows, self.emotions[DEFAULT].vector)

    def _rows(self, vector: Floats) -> Floats:
        return np.concatenate([self.speaker_latents + vector, self.speed_rows]).astype(np.float32)

    def _tensors(self) -> dict[str, Floats]:
        named = {name: getattr(self, name) for name in ("speaker_latents", "speed_rows", "style", "ref_mel", "prompt_condition")}
        if self.emotion_rows is not None:
            named["emotion_rows"] = self.emotion_rows
        for name, state in self.emotions.items():
            for part in ("vector", "keys", "values"):
                if (tensor := getattr(state, part)) is not None:
                    named[f"emotion.{name}.{part}"] = tensor
        return named


def write(pack: VoicePack, path: Path) -> None:
    """Write the file whole or not at all."""
    about = {"format": FORMAT} | {name: getattr(pack.about, name) for name in About.__dataclass_fields__}
    text = json.dumps(about, ensure_ascii=False, default=dict)
    data = save({k: np.ascontiguousarray(v) for k, v in pack._tensors().items()}, {"voice": text})
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read(path: Path) -> VoicePack:
    """Read one pack; the file's name is the voice's name, so a copied file is a second voice.

    Raises `ModelMissing` naming file and fault if it is absent, damaged or not a pack.
    """
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}
        about = replace(_about(metadata), name=path.name.removesuffix(SUFFIX))
        return VoicePack(about, emotions=_states(tensors), **_plain(tensors))
    except (OSError, SafetensorError) as error:
        raise ModelMissing(f"{path}: not readable as a voice pack: {error}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise ModelMissing(f"{path}: not a voice pack: {error}") from None


def read_folder(folder: Path) -> dict[str, VoicePack]:
    """All packs of a folder by name; empty if there is no such folder. A broken one is logged and left out, the others are served."""
    packs = {}
    for path in sorted(folder.glob("*" + SUFFIX)) if folder.is_dir() else []:
        try:
            pack = read(path)
        except ModelMissing as error:
            log.warning("voice left out: %s", error)
            continue
        packs[pack.about.name] = pack
    return packs


def path_in(folder: Path, name: str) -> Path:
    """Where the pack of a name lives. Raises `BadOption` for a name that is no plain word."""
    if not name or len(name) > 64 or not all(c.isalnum() or c in "-_" for c in name):
        raise BadOption(f"voice name {name!r}: letters, digits, - and _, at most 64")
    return folder / (name + SUFFIX)


def random_pack(
    name: str = "random", *, latents: int = 32, dim: int = 1280, style: int = 192, mels: int = 80, content: int = 512, frames: int = 258
) -> VoicePack:
    """A pack of random numbers without cached keys and values; the same name gives the same pack. For tests and speed work."""
    random = np.random.default_rng(list(name.encode()))

    def normal(*shape: int) -> Floats:
        return random.standard_normal(shape, dtype=np.float32)

    return VoicePack(
        About(name, description="random numbers"),
        speaker_latents=0.3 * normal(latents, dim),
        speed_rows=0.3 * normal(2, dim),
        style=normal(style),
        ref_mel=2 * normal(mels, frames) - 5,
        prompt_condition=0.4 * normal(frames, content),
        emotions={DEFAULT: EmotionState(0.3 * normal(dim))},
        emotion_rows=0.3 * normal(len(emotions.NAMES), dim),
    )


def _about(metadata: Mapping[str, str]) -> About:
    table = json.loads(metadata.get("voice", "null"))
    if not isinstance(table, dict):
        raise ValueError("its metadata has no entry `voice`")
    version = table.pop("format", None)
    if version != FORMAT:
        raise ValueError(f"format {version}, this program reads {FORMAT}; enrol the voice again")
    table["languages"] = tuple(table.get("languages", ()))
    return About(**table)


def _states(tensors: Mapping[str, Floats]) -> dict[str, EmotionState]:
    parts: dict[str, dict[str, Floats]] = {}
    for key, tensor in tensors.items():
        if key.startswith("emotion."):
            name, part = key.removeprefix("emotion.").rsplit(".", 1)
            parts.setdefault(name, {})[part] = tensor
    states = {name: EmotionState(**found) for name, found in parts.items()}
    return {DEFAULT: states.pop(DEFAULT), **states} if DEFAULT in states else states


def _plain(tensors: Mapping[str, Floats]) -> dict[str, Floats]:
    return {k: v for k, v in tensors.items() if not k.startswith("emotion.")}


def _shape(tensor: Floats, dims: int, name: str) -> tuple[int, ...]:
    if tensor.ndim != dims:
        raise ValueError(f"{name} is {tensor.shape}, expected {dims} dimensions")
    return tensor.shape


def _checked(vector: tuple[float, ...]) -> tuple[float, ...]:
    """Eight weights in 0..1; a sum above 1 is brought down to 1, or the speaker's own emotion would count negatively."""
    if len(vector) != len(emotions.NAMES) or not all(0 <= w <= 1 for w in vector):
        raise BadOption(f"an emotion vector has {len(emotions.NAMES)} weights between 0 and 1 ({', '.join(emotions.NAMES)}), got {vector}")
    total = sum(vector)
    return tuple(w / total for w in vector) if total > 1 else vector
