"""The joins that a handover makes are heard as perfect, those that it must not make are heard as damage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.engines.beacon.decoder import listen
from realtime.engines.beacon.encoder import Encoder
from realtime.engines.beacon.voices import BUILT_IN, BeaconVoice

A, B, _ = BUILT_IN
TEXT = "从前有座山，山里有座庙"


def part(voice: BeaconVoice, text: str, start: int = 0) -> npt.NDArray[np.float32]:
    encoder = Encoder(voice, text, 1.0, start)
    return np.asarray(soxr.resample(encoder.render(0, encoder.total), voice.sample_rate, 24000), dtype=np.float32)


def crossfaded(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], length: int) -> npt.NDArray[np.float32]:
    ramp = np.sin(np.linspace(0, np.pi / 2, length, dtype=np.float32))
    middle = first[len(first) - length :] * ramp[::-1] + second[:length] * ramp
    return np.concatenate([first[: len(first) - length], middle, second[length:]])


class TestJoins:
    @pytest.mark.parametrize("at", range(1, len(TEXT)))
    @pytest.mark.parametrize("fade_ms", [0, 5, 20])
    def test_a_join_between_characters_is_perfect(self, at: int, fade_ms: int) -> None:
        head = part(A, TEXT)[: int(Encoder(A, TEXT).boundaries[at])]
        tail = np.concatenate([np.zeros(fade_ms * 24, np.float32), part(B, TEXT, at)])
        result = listen(crossfaded(head, tail, fade_ms * 24), 24000)
        assert (result.text, result.damages) == (TEXT, ())
        assert result.voices() == ("beacon-a",) * at + ("beacon-b",) * (len(TEXT) - at)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, len(TEXT) - 2), st.floats(6, 34))  # ms of a burst of 40; less than 6 beside another burst goes unnoticed
    def test_a_join_inside_a_character_is_not(self, at: int, cut_ms: float) -> None:
        head = part(A, TEXT)[: int(Encoder(A, TEXT).boundaries[at] + cut_ms * 24)]
        again = listen(np.concatenate([head, part(B, TEXT, at)]), 24000)
        assert again.text == TEXT  # the beginning of a character, then all of it
        assert len(again.damages) == 1
        lost = listen(np.concatenate([head, part(B, TEXT, at + 1)]), 24000)
        assert lost.text == TEXT[:at] + TEXT[at + 1 :]
        assert len(lost.damages) == 1
