"""The stand-in for the reference: our parity-proven torch modules, eager, float32, one thread, weight norm folded once."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from realtime.engines.sambert.checkpoint.acoustic import AcousticModel
from realtime.engines.sambert.checkpoint.archive import find_voices, read_voice
from realtime.engines.sambert.checkpoint.hifigan import Generator
from realtime.engines.sambert.checkpoint.load import load_strict
from realtime.engines.sambert.checkpoint.normed import NormedWeight
from realtime.engines.sambert.symbols import Symbol

Array = npt.NDArray[np.float32]


class TorchVoice:
    """The whole of a voice in torch, run as the published code runs it: line by line, the vocoder over the whole line."""

    def __init__(self, archive: Path) -> None:
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as scratch:
            voice = read_voice(find_voices(archive, Path(scratch))[0])
        self.vocabulary, self.rate = voice.vocabulary, voice.sample_rate
        self.model, self.generator = AcousticModel(voice.acoustic), Generator(voice.vocoder)
        load_strict(self.model, voice.acoustic_state, str(voice.acoustic_file))
        load_strict(self.generator, voice.vocoder_state, str(voice.vocoder_file))
        for part in self.generator.modules():
            if isinstance(part, NormedWeight):
                _fold(part)

    def speak(self, symbols: Sequence[Symbol], frames: Sequence[int]) -> tuple[Array, float]:
        """One line with forced durations -> (samples, seconds taken)."""
        ids = self.vocabulary.encode(symbols)
        ling = torch.from_numpy(np.stack([ids[n] for n in ("sy", "tone", "syllable_flag", "word_segment")], axis=-1))[None]
        emo, spk = (torch.from_numpy(ids[name])[None] for name in ("emo_category", "speaker_category"))
        begin = time.perf_counter()
        with torch.inference_mode():
            spoken = self.model(ling, emo, spk, torch.tensor([list(frames)]))
            length = spoken.prosody.num_frames
            samples = self.generator(spoken.postnet_outputs[:, :length].transpose(1, 2))
        took = time.perf_counter() - begin
        return np.asarray(samples[0, 0].numpy()), took


def _fold(part: NormedWeight) -> None:
    """Published inference removes weight normalisation first; so does this, to be fair."""
    weight = part.folded().detach().clone()
    del part.weight_g, part.weight_v
    part.weight = torch.nn.Parameter(weight, requires_grad=False)
    part.is_normed = False


def log_spectral_distance(a: Array, b: Array, window: int = 512, hop: int = 128) -> float:
    """Mean over frames of the RMS difference of log power spectra in dB (Gray and Markel 1976), floor 60 dB below the peak."""
    count = min(len(a), len(b))
    spectra = []
    for x in (a[:count], b[:count]):
        frames = np.lib.stride_tricks.sliding_window_view(x, window)[::hop] * np.hanning(window).astype(np.float32)
        spectra.append(np.abs(np.fft.rfft(frames)) ** 2)
    floor = 1e-6 * max(float(s.max()) for s in spectra)
    difference = 10 * np.log10((spectra[0] + floor) / (spectra[1] + floor))
    return float(np.sqrt((difference**2).mean(axis=1)).mean())
