"""The vocoder against the reference, and in windows against itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime.engines.indextts2 import vocode
from realtime.engines.indextts2.acoustic import drained
from realtime.engines.indextts2.kernels import Kernels
from realtime.engines.indextts2.kernels.packing import Kind
from realtime.engines.indextts2.random_model import TINY, bigvgan_tensors
from realtime.engines.indextts2.vocode import Vocoder, VocoderShape


@pytest.mark.golden
def test_equals_the_reference(golden: Path, any_kernels: Kernels, reference: Any) -> None:
    weights, io = reference("bigvgan")
    shape = VocoderShape.of(json.loads((golden / "bigvgan" / "config.json").read_text()))
    vocoder = Vocoder(any_kernels, weights, shape, Kind.F32)
    for mel, wav in zip([*io["mel"], *io["mel_b2"]], [*io["wav"], *io["wav_b2"]], strict=True):
        np.testing.assert_allclose(vocoder.run(mel.T), wav[0], atol=1e-4)


@pytest.mark.parametrize(("kind", "narrow"), [(Kind.F32, 0), (Kind.BF16, 0), (Kind.Q8, 0), (Kind.Q8, vocode.NARROW)])
def test_a_window_with_its_context_equals_the_whole(any_kernels: Kernels, kind: Kind, narrow: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocode, "NARROW", narrow)
    shape = VocoderShape.of(TINY["bigvgan"])
    assert shape.context == shape.contexts[0] > shape.contexts[1] > shape.contexts[2]  # so windows are cut on the way
    vocoder = Vocoder(any_kernels, bigvgan_tensors(TINY["bigvgan"], 3), shape, kind)
    mel = np.random.default_rng(0).standard_normal((4 * shape.context, shape.num_mels), dtype=np.float32)
    whole = vocoder.run(mel)
    assert len(whole) == len(mel) * shape.hop and whole.std() > 1e-3
    for first, last in ((0, 7), (9, 30), (2 * shape.context, 3 * shape.context), (len(mel) - 5, len(mel))):
        left, right = min(first, shape.context), min(len(mel) - last, shape.context)
        part = vocoder.run(mel[first - left : last + right], left, right)
        np.testing.assert_allclose(part, whole[first * shape.hop : last * shape.hop], atol=1e-4)


@pytest.mark.parametrize(("kind", "limit"), [(Kind.BF16, 0.02), (Kind.Q8, 0.06)])
def test_lower_precision_stays_near(any_kernels: Kernels, kind: Kind, limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocode, "NARROW", 0)
    shape, tensors = VocoderShape.of(TINY["bigvgan"]), bigvgan_tensors(TINY["bigvgan"], 3)
    mel = np.random.default_rng(0).standard_normal((40, shape.num_mels), dtype=np.float32)
    exact = Vocoder(any_kernels, tensors, shape, Kind.F32).run(mel)
    near = Vocoder(any_kernels, tensors, shape, kind).run(mel)
    assert np.sqrt(((near - exact) ** 2).mean()) < limit * exact.std()


def test_a_window_that_is_left_half_way_does_not_disturb_another(any_kernels: Kernels) -> None:
    vocoder = Vocoder(any_kernels, bigvgan_tensors(TINY["bigvgan"], 3), VocoderShape.of(TINY["bigvgan"]), Kind.F32)
    mels = [np.random.default_rng(i).standard_normal((n, vocoder.shape.num_mels), dtype=np.float32) for i, n in enumerate((21, 34))]
    alone = [vocoder.run(mel) for mel in mels]
    left = vocoder.steps(mels[0])
    for _ in range(3):
        next(left)
    assert np.array_equal(vocoder.run(mels[1]), alone[1])
    assert np.array_equal(drained(left), alone[0])
    dropped = vocoder.steps(mels[0])
    next(dropped)
    dropped.close()
    assert np.array_equal(vocoder.run(mels[1]), alone[1])


def test_refuses_vocoders_of_another_kind() -> None:
    with pytest.raises(ValueError, match="snakebeta"):
        VocoderShape.of(TINY["bigvgan"] | {"activation": "snake"})
