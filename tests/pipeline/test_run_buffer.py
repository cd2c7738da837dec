"""RunBuffer: what is taken is gone, what is not can be cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from realtime.pipeline.run_buffer import RunBuffer


def ramp(start: int, count: int) -> np.ndarray:
    return np.arange(start, start + count, dtype=np.float32)


@given(st.lists(st.tuples(st.sampled_from(["append", "take", "cut"]), st.integers(0, 50))))
def test_buffer_behaves_like_one_long_array(steps: list[tuple[str, int]]) -> None:
    buffer, model, taken, following = RunBuffer(), np.zeros(0, np.float32), 0, 0
    for what, count in steps:
        if what == "append":
            buffer.append(ramp(following, count))
            model = np.concatenate([model, ramp(following, count)])
            following += count
        elif what == "take":
            got = buffer.take(count)
            assert np.array_equal(got, model[taken : taken + count])
            taken += len(got)
        else:
            cut = buffer.cut(count)
            at = min(max(count, taken), len(model))
            assert np.array_equal(cut, model[at:])
            model = model[:at]
        assert (buffer.taken, buffer.total, len(buffer)) == (taken, len(model), len(model) - taken)
        assert np.array_equal(buffer.held(), model[taken:])


def test_recent_tells_what_was_taken_last() -> None:
    buffer = RunBuffer()
    buffer.append(ramp(0, 100))
    for _ in range(10):
        buffer.take(5)
    assert np.array_equal(buffer.recent(), ramp(0, 50))


def test_clear_forgets_only_what_is_held() -> None:
    buffer = RunBuffer()
    buffer.append(ramp(0, 10))
    buffer.take(4)
    buffer.clear()
    assert (buffer.taken, buffer.total, len(buffer)) == (4, 4, 0)
