"""One line being spoken: decoder, postnet and vocoder as a pipeline that is asked for one chunk at a time.

Started in mid-line (a handover), the decoder begins some steps early with an empty past, which is well defined because it has no position
code; those frames settle it and are discarded, exactly up to `start_frame` (specification 11.6).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from realtime.engines.sambert.decoding import DecoderState
from realtime.engines.sambert.vocode import context_frames
from realtime.engines.sambert.voice import Score, Voice

Array = npt.NDArray[np.float32]

SETTLE_STEPS = 8
"""At most this many decoder steps are spent on settling (specification 11.6: 4 to 8)."""
VOCODER_SETTLE_FRAMES = 12
"""Of the settled frames, how many also go through the vocoder, so that its state is not empty at the first sample. Guess."""
SHORT_TAIL_FRAMES = 6
"""A rest shorter than this goes with the chunk before it."""


class LineSpeech:
    """State of one line. Feed it decoder frames (`state` says which step is next), take samples."""

    def __init__(self, voice: Voice, score: Score, start_frame: int, seed: int, level: str) -> None:
        r = voice.acoustic.outputs_per_step
        settle = min(SETTLE_STEPS, max(4, score.band)) if start_frame else 0
        first = max(0, start_frame // r - settle)
        self._voice, self._r = voice, r
        self.state: DecoderState = voice.decoder_state(score, voice.memory(score), first)
        self._postnet = voice.postnet_stream(score.frames - first * r)
        self._vocoder = voice.vocoder_stream(seed, level)
        self._lookahead = context_frames(voice.vocoder)[1]
        self._total = score.frames - first * r
        lead = start_frame - first * r
        # Frames before the first sample: some are dropped as mel, the rest as samples.
        self._taken = max(0, lead - VOCODER_SETTLE_FRAMES)
        self._drop_mel = self._taken
        self._drop_samples = (lead - self._taken) * voice.hop
        self._is_first = True
        self._frames: list[Array] = []
        self._mel: Array = np.zeros((0, voice.acoustic.num_mels), np.float32)
        self._decoded = 0

    @property
    def is_over(self) -> bool:
        """Whether every sample was taken."""
        return self._taken >= self._total

    @property
    def is_decoded(self) -> bool:
        """Whether no more decoder steps are needed."""
        return self.state.is_done

    def use_level(self, level: str) -> None:
        """Vocode at another quality level from the next chunk on."""
        self._vocoder.use(self._voice.vocoder_graph(level))

    def wants_frames(self, chunk: int) -> bool:
        """Whether more decoder steps are needed before a chunk of `chunk` frames can be made."""
        return not self.is_decoded and self._decoded - self._voice.postnet_delay - self._taken < self._feed(chunk)

    def take_frames(self, frames: Array) -> None:
        """Frames [r,mels] of the step that `state` just made; the postnet runs later, over all of a chunk at once."""
        self._frames.append(frames)
        self._decoded += frames.shape[0]

    def samples(self, chunk: int) -> Array:
        """The next `chunk` frames' samples (less at the end, more where a short rest joins); call when no frames are wanted."""
        self._run_postnet()
        ready = self._mel.shape[0]
        count = min(self._feed(chunk), ready)
        if self.is_decoded and ready - count < SHORT_TAIL_FRAMES + self._lookahead:
            count = ready
        mel, self._mel = self._mel[:count], self._mel[count:]
        self._taken += count
        self._is_first = False
        out = self._vocoder.push(self._voice.vocoder_input(mel), is_last=self.is_over)
        cut = min(self._drop_samples, out.shape[0])
        self._drop_samples -= cut
        return out[cut:]

    def _run_postnet(self) -> None:
        if not self._frames:
            return
        mel = self._postnet.push(np.concatenate(self._frames))
        self._frames = []
        cut = min(self._drop_mel, mel.shape[0])
        self._drop_mel -= cut
        self._mel = np.concatenate([self._mel, mel[cut:]])

    def _feed(self, chunk: int) -> int:
        """Mel frames that the vocoder needs now: the first time also its look-ahead and what will be dropped."""
        return chunk + (self._lookahead + self._drop_samples // self._voice.hop if self._is_first else 0)
