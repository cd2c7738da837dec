"""A reference clip -> a voice pack. Specification sections 5 and 16. Needs torch and the whole checkpoint; serving needs neither.

One model is in memory at a time; at official sizes the peak is about 4 GB. Cost: some 60 GFLOP per second of clip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from realtime.engines.indextts2 import emotion as emotions
from realtime.engines.indextts2.checkpoint.features import centred_fbank, log_mel, seamless_features, sinc_resampled
from realtime.engines.indextts2.checkpoint.gpt import Gpt, KvCache
from realtime.engines.indextts2.checkpoint.load import Parts
from realtime.engines.indextts2.clips import Clip
from realtime.engines.indextts2.voice_pack import DEFAULT, About, EmotionState, VoicePack

Floats = npt.NDArray[np.float32]
FEATURE_HZ = 16000
SPEECH_FLOOR = 1.0
"""A window of the prompt is scored by mel level above the clip's median minus this (natural log)."""
NEARLY = 0.85
"""A prompt may hold this share of the most speech that fits, for the sake of a better end (guess)."""
PAUSE_FRAMES = 6
"""70 ms: shorter gaps are closures within words."""
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What to make a pack of. `emotions` are clips, `weights` emotion vectors, each under the name that requests will use.

    `prompt_s` caps the flow decoder's prompt: each second of it costs as much there as a second of sound.
    """

    about: About
    clip: Clip
    emotions: Mapping[str, Clip] = field(default_factory=dict)
    weights: Mapping[str, Sequence[float]] = field(default_factory=dict)
    prompt_s: float = 3.0


def enrol(parts: Parts, request: Enrolment, report: Report = lambda step: None) -> VoicePack:
    """Run the whole voice front end; `report` hears each step's name before it starts.

    Raises `ModelMissing` for files of the checkpoint that are missing or wrong.
    """
    with torch.inference_mode():
        mel_config = parts.mel_config()
        wave = request.clip.at(mel_config.sample_rate)
        wave16 = sinc_resampled(wave, mel_config.sample_rate, FEATURE_HZ)
        report("mel spectrogram")
        mel = log_mel(wave, mel_config)
        report("features (w2v-bert)")
        features = _features(parts, {DEFAULT: wave16, **{name: clip.at(FEATURE_HZ) for name, clip in request.emotions.items()}})
        report("content (semantic codec)")
        content = parts.codec().quantize(features[DEFAULT])[1]
        report("style (CAM++)")
        style = parts.style_encoder()(torch.from_numpy(centred_fbank(wave16))[None])[0].numpy()
        report("prompt (length regulator)")
        prompt = parts.s2mel().length_regulator(content, mel.shape[1])[0].numpy()
        report("speaker and emotions (language model)")
        spoken = _spoken(parts, request, features, style)
    window = prompt_window(mel, int(request.prompt_s * mel_config.sample_rate) // mel_config.hop)
    return VoicePack(
        request.about,
        speaker_latents=spoken.latents,
        speed_rows=spoken.speed_rows,
        style=style,
        ref_mel=np.ascontiguousarray(mel[:, window]),
        prompt_condition=np.ascontiguousarray(prompt[window]),
        emotions=spoken.states,
        emotion_rows=spoken.rows,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Spoken:
    """What the language model makes of a voice."""

    latents: Floats
    speed_rows: Floats
    states: dict[str, EmotionState]
    rows: Floats


def _features(parts: Parts, waves: Mapping[str, Floats]) -> dict[str, Tensor]:
    """Normalised w2v-bert features [1, T, H] of each wave."""
    encoder = parts.feature_encoder()
    mean, deviation = parts.feature_stats()
    found = {}
    for name, wave in waves.items():
        rows, mask = seamless_features(wave)
        hidden = encoder(torch.from_numpy(rows)[None], None if mask.all() else torch.from_numpy(mask)[None])
        found[name] = (hidden - mean) / deviation
    return found


def _spoken(parts: Parts, request: Enrolment, features: Mapping[str, Tensor], style: Floats) -> _Spoken:
    speakers, matrix, groups = parts.emotion_matrices()
    rows = matrix.numpy()[emotions.absolute_rows(emotions.choose_rows(style, speakers.numpy(), groups), groups)]
    gpt = parts.gpt()
    latents = gpt.speaker_latents(features[DEFAULT])
    vectors = {name: gpt.emotion_vector(tensor)[0].numpy() for name, tensor in features.items()}
    for name, weights in request.weights.items():
        vectors[name] = emotions.mixed(emotions.scaled(weights, 1.0), rows, vectors[DEFAULT])
    states = {name: _state(gpt, latents, vector) for name, vector in vectors.items()}
    return _Spoken(latents[0].numpy(), gpt.speed_emb.weight[[1, 0]].numpy(), states, rows)


def _state(gpt: Gpt, latents: Tensor, vector: Floats) -> EmotionState:
    """An emotion with the condition rows' keys and values: the rows come first and attention looks back only."""
    cache = KvCache([], [])
    gpt.transform(gpt.conditions(latents, torch.from_numpy(vector)[None]), cache)
    keys, values = (torch.cat(part).numpy() for part in (cache.keys, cache.values))
    return EmotionState(vector, keys, values)


def prompt_window(mel: Floats, frames: int) -> slice:
    """The `frames` consecutive frames of [bands, T] to show the flow decoder; all of them if there are no more.

    Much speech, and an end in a pause: what is generated follows right behind, and would begin in the middle of a sound otherwise.
    Among the windows with nearly the most speech, the one with the quietest end.
    """
    total = mel.shape[1]
    if frames >= total:
        return slice(0, total)
    level = mel.mean(axis=0)
    speech = np.maximum(level - (np.median(level) - SPEECH_FLOOR), 0)
    held = _sums(speech, frames)
    tail = min(PAUSE_FRAMES, frames)
    ends = _sums(level, tail)[frames - tail :]
    start = int(np.argmin(np.where(held >= NEARLY * held.max(), ends, np.inf)))
    return slice(start, start + frames)


def _sums(values: Floats, width: int) -> npt.NDArray[np.float64]:
    """Sums of `width` consecutive values, by the place of the first."""
    run = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    out: npt.NDArray[np.float64] = run[width:] - run[:-width]
    return out
