"""How far exported graphs are from the torch modules that they were made of, on one fixed line; recorded in the manifest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from realtime.engines.sambert.checkpoint.acoustic import AcousticModel
from realtime.engines.sambert.checkpoint.hifigan import Generator
from realtime.engines.sambert.decoding import Decoder, DecoderState, Memory
from realtime.engines.sambert.symbols import Vocabulary
from realtime.engines.sambert.voice import Voice

SYMBOLS, FRAMES, SEED = 30, 5, 0


def measure_export(model: AcousticModel, generator: Generator, voice: Voice) -> dict[str, float]:
    """Largest absolute differences of mel and samples, in float32, on random symbols of `FRAMES` frames each."""
    rng = np.random.default_rng(SEED)
    ling = torch.from_numpy(np.stack([rng.integers(0, n, SYMBOLS) for n in _sizes(voice.vocabulary)], axis=-1))[None]
    emo = torch.from_numpy(rng.integers(0, len(voice.vocabulary.tables["emo_category"]), (1, SYMBOLS)))
    spoken = model(ling, emo, _speaker(model, voice, SYMBOLS), torch.full((1, SYMBOLS), FRAMES))
    memory = spoken.memory[0].numpy()
    frames = _decode(voice, memory, spoken.band)
    length = FRAMES * SYMBOLS
    stream = voice.postnet_stream(length)
    mel = np.concatenate([stream.push(frames[at : at + 7]) for at in range(0, frames.shape[0], 7)])
    reference = spoken.postnet_outputs[0, :length].numpy()
    out = {"mel": float(np.abs(mel - reference).max())}
    x = voice.vocoder_input(reference)[:40]
    if not generator.dims.is_nsf:
        ours = voice.vocoder_stream(SEED)
        samples = np.concatenate([ours.push(x[:13]), ours.push(x[13:], is_last=True)])
        theirs = generator(torch.from_numpy(np.ascontiguousarray(x.T))[None])[0, 0].numpy()
        out["samples"] = float(np.abs(samples - theirs).max())
    return out


def _sizes(vocabulary: Vocabulary) -> list[int]:
    return [len(vocabulary.tables[name]) for name in ("sy", "tone", "syllable_flag", "word_segment")]


def _speaker(model: AcousticModel, voice: Voice, count: int) -> torch.Tensor:
    ids = np.zeros(count, np.int64)
    vectors = torch.from_numpy(voice.speaker_rows(ids))[None]
    return vectors if model.dims.SE else torch.from_numpy(ids)[None]


def _decode(voice: Voice, packed: npt.NDArray[np.float32], band: int) -> npt.NDArray[np.float32]:
    decoder, memory = Decoder(voice.graphs["decoder_step"], voice.acoustic.num_mels), Memory.of(voice.graphs["memory"], packed)
    state, parts = DecoderState(memory, band, band, voice.acoustic.num_mels), []
    while not state.is_done:
        parts += decoder.step([state])
    return np.concatenate(parts)
