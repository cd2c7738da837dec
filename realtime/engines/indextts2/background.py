"""Decoding on a thread of its own, on one core, while the other cores make sound.

Decoding waits for memory, sound for arithmetic, so the two hardly disturb each other; on all cores at once decoding would spend most of
them waiting. The thread goes from code to code without being asked, so that neither waits for the other's pieces. Whoever wants to read
or change a sequence (begin a chunk, add or forget a job, run a prompt) calls `pause` first, which lasts one code at most.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from realtime.engines.indextts2.decode import Decoder, Sequence
from realtime.engines.indextts2.kernels.native import Native

MOST_CODES = 32
"""Codes decoded before the engine is asked again who decodes."""
PROMPT_ROWS = 16
"""Prompt positions per pass: some 30 ms on one core at official size, so that a pause is short."""


class Background:
    """At most one run at a time. For compiled kernels with two threads or more."""

    def __init__(self, decoder: Decoder, kernels: Native) -> None:
        self._decoder, self._kernels, self._threads = decoder, kernels, kernels.threads
        self._thread = ThreadPoolExecutor(1, "decode", initializer=kernels.go_solo)
        self._run: Future[None] | None = None
        self._is_halted = False

    @property
    def is_running(self) -> bool:
        """Whether codes are being decoded right now."""
        return self._run is not None and not self._run.done()

    def begin(self, sequences: list[Sequence], codes: int = MOST_CODES) -> int:
        """Decode up to so many codes of each of these from now on; not while running. Returns how many that are, at most `MOST_CODES`."""
        self.pause()
        self._is_halted = False
        self._kernels.set_threads(self._threads - 1)
        count = min(codes, MOST_CODES)
        self._run = self._thread.submit(self._decode, sequences, count)
        return count

    def pause(self) -> None:
        """Return when nothing is being decoded and all cores are free; raises what went wrong in the run."""
        if self._run is None:
            return
        self._is_halted = True
        run, self._run = self._run, None
        try:
            run.result()
        finally:
            self._kernels.set_threads(self._threads)

    def settle(self) -> None:
        """Give the core back if the run has ended, so that sound does not go on without it."""
        if self._run is not None and self._run.done():
            self.pause()

    def close(self) -> None:
        """End the thread."""
        self.pause()
        self._thread.shutdown()

    def _decode(self, sequences: list[Sequence], codes: int) -> None:
        for _ in range(codes):
            if self._is_halted or all(sequence.is_finished for sequence in sequences):
                return
            self._decoder.step(sequences, PROMPT_ROWS)
