"""Compiled kernels against numpy; packed weights against what they stand for; builds and their failure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from realtime.engines.indextts2.kernels import Kernels, build, load_kernels
from realtime.engines.indextts2.kernels import native as n
from realtime.engines.indextts2.kernels.fallback import Fallback, sigmoid
from realtime.engines.indextts2.kernels.operand import aligned
from realtime.engines.indextts2.kernels.packing import Kind, Weight, pack, paired, unpack

# largest error of a product, relative to the spread of the exact result
TOLERANCE = {Kind.F32: 2e-5, Kind.BF16: 3e-2, Kind.Q8: 6e-2, Kind.Q4: 6e-2}
SHAPES = [
    (1, 64, 128, 1, 1),
    (5, 80, 40, 1, 1),
    (7, 102, 96, 3, 2),
    (131, 200, 520, 5, 3),
    (13, 33, 1288, 1, 1),
    (4, 7, 3, 1, 1),
    (200, 65, 72, 2, 1),
]


@pytest.fixture(scope="module")
def native() -> n.Native:
    try:
        return n.Native(build.ensure_built(), 2)
    except build.CompileFailed:
        raise
    except build.CannotBuild as e:
        pytest.skip(f"the kernels can't be compiled here: {e}")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def product(kernels: Kernels, w: Weight, x: np.ndarray, rows: int, dilation: int = 1) -> np.ndarray:
    operand = kernels.operand(w, len(x))
    kernels.put(n.COPY, x, operand)
    out = np.empty((rows, w.n), dtype=np.float32)
    kernels.gemm(w, operand, out, dilation=dilation)
    return out


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("shape", SHAPES)
def test_a_product_is_the_sum_over_taps_of_shifted_rows(native: n.Native, kind: Kind, shape: tuple[int, ...]) -> None:
    rows, outputs, k, taps, dilation = shape
    w = pack(normal(outputs, k, taps), kind, normal(outputs, seed=1))
    x = normal(rows + (taps - 1) * dilation, k, seed=2)
    dense = unpack(w)
    assert w.bias is not None
    exact = sum(x[j * dilation : j * dilation + rows] @ dense[j] for j in range(taps)) + w.bias[:outputs]
    for kernels in (native, Fallback()):
        error = np.abs(product(kernels, w, x, rows, dilation) - exact).max() / exact.std()
        assert error < (TOLERANCE[kind] if kernels is native else 2e-5)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("flags", [n.GATED_SILU, n.GATED_TANH])
@pytest.mark.parametrize(("rows", "half", "k"), [(1, 16, 40), (23, 24, 56), (130, 88, 128)])
def test_a_gated_product_equals_numpy(native: n.Native, kind: Kind, flags: int, rows: int, half: int, k: int) -> None:
    raw, bias, x = normal(2 * half, k), normal(2 * half, seed=1), normal(rows, k, seed=2) / 8
    w, plain = pack(paired(raw), kind, paired(bias)), pack(raw, Kind.F32, bias)
    results = []
    for kernels in (native, Fallback()):
        operand = kernels.operand(w, rows)
        kernels.put(n.COPY, x, operand)
        out = np.empty((rows, w.n // 2), dtype=np.float32)
        kernels.gemm(w, operand, out, flags=flags)
        results.append(out)
    np.testing.assert_allclose(results[0], results[1], atol=TOLERANCE[kind] * 4)
    both = product(Fallback(), plain, x, rows)
    a, b = both[:, :half], both[:, half:]
    expected = a * sigmoid(a) * b if flags == n.GATED_SILU else np.tanh(a) * sigmoid(b)
    if kind is Kind.F32:
        np.testing.assert_allclose(results[0][:, :half], expected, atol=1e-5)
    assert not results[0][:, half:].any()  # what fills up the last panel


@pytest.mark.parametrize("kind", list(Kind))
def test_each_row_of_a_batch_equals_the_row_alone(native: n.Native, kind: Kind) -> None:
    w, x = pack(normal(150, 264), kind), normal(29, 264, seed=3)
    together = product(native, w, x, len(x))
    for row in (0, 13, 28):
        assert np.array_equal(product(native, w, x[row : row + 1], 1)[0], together[row])


@pytest.mark.parametrize(("kind", "limit"), [(Kind.F32, 0.0), (Kind.BF16, 0.003), (Kind.Q8, 0.01), (Kind.Q4, 0.12)])
def test_unpacking_gives_the_weights_back_within_their_precision(kind: Kind, limit: float) -> None:
    full = normal(37, 70, 3)
    back = unpack(pack(full, kind)).transpose(2, 1, 0)
    assert np.sqrt(((back - full) ** 2).mean()) <= limit * full.std()


@pytest.mark.parametrize("width", [16, 40])
@pytest.mark.parametrize("what", [n.LAYER_NORM, n.RMS_NORM, n.MISH, n.COPY])
def test_row_passes_equal_numpy(native: n.Native, what: int, width: int) -> None:
    w = pack(normal(16, width), Kind.F32)
    x, gain, shift = 3 * normal(19, width + 5), normal(width, seed=1), normal(width, seed=2)  # wider rows than are wanted
    results = []
    for kernels in (native, Fallback()):
        operand = kernels.operand(w, 20)
        kernels.put(what, x, operand, 1, gain, shift)
        results.append(operand.floats)
    np.testing.assert_allclose(results[0], results[1], atol=2e-5)


@pytest.mark.parametrize("rows", [1, 2, 7, 130, 300])
@pytest.mark.parametrize("channels", [16, 24])
def test_snake_equals_numpy_at_the_edges_too(native: n.Native, rows: int, channels: int) -> None:
    w = pack(normal(16, channels), Kind.F32)
    taps = np.abs(normal(12)) / 6
    alpha, inverse = np.abs(normal(32, seed=1)) + 0.2, np.abs(normal(32, seed=2))
    results = []
    for kernels in (native, Fallback()):
        operand = kernels.operand(w, rows + 4)
        kernels.snake(normal(rows, channels), alpha, inverse, taps, operand, 2)
        results.append(operand.floats)
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)


@pytest.mark.parametrize(
    ("frames", "width", "heads"), [(1, 32, 2), (50, 64, 4), (131, 48, 2), (33, 24, 3), (70, 160, 2), (49, 40, 20), (97, 256, 2)]
)
def test_attention_equals_numpy(native: n.Native, frames: int, width: int, heads: int) -> None:
    qkv = normal(2 * frames, 3 * width)
    angles = normal(frames, width // heads // 2, seed=1)
    tables = (np.cos(angles), np.sin(angles))
    w = pack(normal(16, width), Kind.F32)
    results = []
    for kernels in (native, Fallback()):
        operand = kernels.operand(w, 2 * frames)
        kernels.attention(qkv, 2, heads, tables, Kind.F32, operand)
        results.append(operand.floats)
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_value_that_is_not_a_number_reaches_the_output(native: n.Native, kind: Kind) -> None:
    x = normal(3, 64)
    x[1, 5] = np.nan
    out = product(native, pack(normal(16, 64), kind), x, 3)
    assert np.isnan(out[1]).all() and np.isfinite(out[[0, 2]]).all()


@pytest.mark.parametrize("shape", [(1, 3), (5, 80), (700, 512)])
def test_buffers_begin_at_a_cache_line(shape: tuple[int, int]) -> None:
    for dtype in (np.float32, np.uint16, np.int8):
        array = aligned(shape, dtype, is_zero=True)
        assert array.shape == shape and array.dtype == dtype and array.flags.c_contiguous and not array.any()
        assert array.ctypes.data % 64 == 0


def test_more_threads_change_nothing(native: n.Native) -> None:
    w, x = pack(normal(300, 512), Kind.Q8), normal(250, 512)
    first = product(native, w, x, 250)
    for threads in (1, 3, 2):
        native.set_threads(threads)
        assert np.array_equal(product(native, w, x, 250), first)


def test_without_a_compiler_numpy_stands_in_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    kernels = load_kernels(1, tmp_path)
    assert kernels.name == "numpy"
    assert "no C compiler" in caplog.text and "install gcc" in caplog.text


def test_a_processor_without_the_instructions_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "processor", lambda: "x86_64 flags : sse4_2 avx2")
    with pytest.raises(build.CannotBuild, match="avx512f"):
        build.ensure_built(tmp_path)


def test_a_failing_compiler_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "FLAGS", ("--no-such-flag",))
    with pytest.raises(build.CompileFailed, match="no-such-flag"):
        build.ensure_built(tmp_path)
    assert not list(tmp_path.glob("*.so"))
