"""The emitter: whatever the codec keeps to itself at first, asking again gives the whole of a run."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.audio.codecs import CODECS
from realtime.pipeline.emitter import Emitter
from realtime.pipeline.outputs import AudioOut
from realtime.pipeline.segment_run import SegmentRun
from realtime.types import AudioFormat, Codec, Segment, Span

RATE = 24000


@pytest.mark.parametrize("codec", list(CODECS))
def test_a_whole_run_leaves_without_waiting_for_more(codec: Codec) -> None:
    emitter = Emitter(AudioFormat(codec, RATE))
    run = SegmentRun(Segment(0, Span(0, 2), "你好"), RATE)
    run.fill(0.1 * np.sin(np.arange(RATE) * 0.1).astype(np.float32), "main", [])
    emitter.add(run)
    outputs = []
    while (output := emitter.next(RATE // 2)) is not None:
        outputs.append(output)
    assert not emitter.runs
    emitter.finish()
    while (output := emitter.next(0)) is not None:
        outputs.append(output)
    sound = [output for output in outputs if isinstance(output, AudioOut)]
    assert sum(output.samples for output in sound) == RATE
    assert [output.sequence for output in sound] == [sum(len(o.frames) for o in sound[:k]) for k in range(len(sound))]
