"""Codes of a job to samples, a piece at a time: a layer of the flow's estimator, a pair of the vocoder's convolutions.

A more urgent job may step in after any piece. What is left half-way keeps its buffers, so only `UNDER_WAY` jobs may be inside a call of
the estimator, and as many inside a window; one more waits until the first of those is through.
"""

from __future__ import annotations

import numpy as np

from realtime.engines.indextts2.kernels.packing import Floats
from realtime.engines.indextts2.speaking import Need, Speaking, Steps
from realtime.engines.indextts2.stages import Stages
from realtime.errors import EngineFailed

CLIPPED_SHARE = 0.5
"""More samples than this at full scale is garbage, not speech (guess; speech at a limiter has below 0.01)."""
UNDER_WAY = 2
"""A window's buffers are some 100 MB at official size and the largest chunk of a streamed level."""


class SoundMaker:
    """Who holds which buffers, and the next piece of work."""

    def __init__(self, stages: Stages) -> None:
        self.stages = stages
        self._in_window: list[Speaking] = []
        self._in_call: list[Speaking] = []

    def turn(self, job: Speaking) -> Speaking:
        """The job to be advanced so that this one can be: itself, or one that must leave its buffers first."""
        inside = self._in_window if job.need is Need.VOCODE else self._in_call
        return job if job in inside or len(inside) < UNDER_WAY else inside[0]

    def begins_chunk(self, job: Speaking) -> bool:
        """Whether the next piece reads the job's codes."""
        return job.need is Need.FLOW and job.flow is None

    def forget(self, job: Speaking) -> None:
        """The job's buffers are free again."""
        for inside in (self._in_window, self._in_call):
            if job in inside:
                inside.remove(job)

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
            is_inside = not next(job.flow)
        except StopIteration:
            job.flow, is_inside = None, False
            job.vocoding = self._begin_window(job)
        if is_inside != (job in self._in_call):
            (self._in_call.append if is_inside else self._in_call.remove)(job)

    def _begin_chunk(self, job: Speaking) -> Steps:
        sequence, stream, decoder = job.sequence, job.stream, self.stages.decoder
        assert sequence is not None and stream is not None
        have = len(sequence.codes)
        if have == 0:
            raise EngineFailed("the language model stopped before its first code")
        until = min(job.codes_made + job.chunk_codes, have) if job.chunk_codes else have
        ahead = job.level.window.look_ahead_codes
        job.is_last_chunk = job.ends_with(until)
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
        if job not in self._in_window:
            self._in_window.append(job)
        try:
            next(job.vocoding)
            return None
        except StopIteration as stop:
            self._in_window.remove(job)
            job.vocoding = None
            has_tail = not job.is_last_chunk and len(job.stream.ahead) > 0
            return checked(job.joined(stop.value, self.stages.vocoder.shape.hop if has_tail else 0))


def checked(samples: Floats) -> Floats:
    """The samples, if they can be sound. Raises `EngineFailed` for values that aren't finite, and for mostly full scale."""
    if not np.isfinite(samples).all():
        raise EngineFailed("the vocoder's samples are not finite")
    if len(samples) and float((np.abs(samples) >= 1).mean()) > CLIPPED_SHARE:
        raise EngineFailed("the vocoder's samples are mostly at full scale")
    return samples
