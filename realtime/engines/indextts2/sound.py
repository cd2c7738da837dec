"""Codes of a job to samples, a piece at a time, through the flow's and the vocoder's shared buffers.

A run that is under way in one of them may be left for another job only at a boundary: flow, between two calls of the estimator; vocoder,
between two windows.
"""

from __future__ import annotations

import numpy as np

from realtime.engines.indextts2.kernels.packing import Floats
from realtime.engines.indextts2.speaking import Need, Speaking, Steps
from realtime.engines.indextts2.stages import Stages
from realtime.errors import EngineFailed

CLIPPED_SHARE = 0.5
"""More samples than this at full scale is garbage, not speech (guess; speech at a limiter has below 0.01)."""


SHORT_REST = 4
"""A rest of up to one fourth of the chunk before it is taken along."""


class SoundMaker:
    """Who holds which buffers, and the next piece of work."""

    def __init__(self, stages: Stages) -> None:
        self.stages = stages
        self._vocoding: Speaking | None = None
        self._in_call: Speaking | None = None

    def holder(self, job: Speaking) -> Speaking:
        """The job that must be advanced before (or as) this one can be."""
        return (self._vocoding if job.need is Need.VOCODE else self._in_call) or job

    def forget(self, job: Speaking) -> None:
        """Free the buffers that a job holds."""
        self._vocoding = None if self._vocoding is job else self._vocoding
        self._in_call = None if self._in_call is job else self._in_call

    def piece(self, job: Speaking) -> Floats | None:
        """Advance a job that needs FLOW or VOCODE; the samples of a window when it is complete.

        Raises `EngineFailed` or `FloatingPointError` when what came out can't be sound.
        """
        if job.need is Need.VOCODE:
            return self._vocode(job)
        self._flow(job)
        return None

    def _flow(self, job: Speaking) -> None:
        assert job.sequence is not None and job.stream is not None
        if job.flow is None:
            job.flow = self._begin_chunk(job)
        try:
            is_boundary = next(job.flow)
            self._in_call = None if is_boundary else job
        except StopIteration:
            job.flow, self._in_call = None, None
            job.vocoding = self._begin_window(job)

    def _begin_chunk(self, job: Speaking) -> Steps:
        sequence, stream, decoder = job.sequence, job.stream, self.stages.decoder
        assert sequence is not None and stream is not None
        have = len(sequence.codes)
        if have == 0:
            raise EngineFailed("the language model stopped before its first code")
        until = min(job.codes_made + job.chunk_codes, have) if job.chunk_codes else have
        ahead = job.level.window.look_ahead_codes
        # a short rest is not worth a chunk of its own: prompt and context would cost more than it
        job.is_last_chunk = sequence.is_finished and have - until <= max(ahead, job.chunk_codes // SHORT_REST)
        until = have if job.is_last_chunk else until
        # no more than the look-ahead, however far decoding has come: the sound must not depend on how busy the host is
        fresh = slice(stream.codes, min(have, until + ahead))
        if fresh.start < fresh.stop:
            latents = decoder.latent_pass(sequence)[fresh] if decoder.offset == 2 else np.stack(sequence.latents[fresh])
            stream.push(sequence.codes[fresh], latents)
        job.chunk_codes, job.codes_made = until - job.codes_made, until
        return stream.steps(until, job.level.schedule, job.level.window)

    def _begin_window(self, job: Speaking) -> Steps:
        stream = job.stream
        assert stream is not None
        left = min(job.frames_vocoded, self.stages.vocoder.shape.context)
        ahead = stream.ahead[:0] if job.is_last_chunk else stream.ahead
        mel = np.concatenate([stream.mel[job.frames_vocoded - left :], ahead])
        job.frames_vocoded = len(stream.mel)
        # one frame of the look-ahead is kept as the tail that the next window fades in over
        return self.stages.vocoder.steps(mel, left, max(0, len(ahead) - 1))

    def _vocode(self, job: Speaking) -> Floats | None:
        assert job.vocoding is not None and job.stream is not None
        self._vocoding = job
        try:
            next(job.vocoding)
            return None
        except StopIteration as stop:
            self._vocoding, job.vocoding = None, None
            has_tail = not job.is_last_chunk and len(job.stream.ahead) > 0
            return checked(job.joined(stop.value, self.stages.vocoder.shape.hop if has_tail else 0))


def checked(samples: Floats) -> Floats:
    """The samples, if they can be sound. Raises `EngineFailed` for values that aren't finite, and for mostly full scale."""
    if not np.isfinite(samples).all():
        raise EngineFailed("the vocoder's samples are not finite")
    if len(samples) and float((np.abs(samples) >= 1).mean()) > CLIPPED_SHARE:
        raise EngineFailed("the vocoder's samples are mostly at full scale")
    return samples
