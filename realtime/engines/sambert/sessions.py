"""One exported graph, ready to run: a thin face over ONNX Runtime that names inputs and returns arrays.

Sessions of one process never spin: threads that wait by spinning starve the autoregressive loops as soon as another process wants the
core (a 30-fold slow-down was seen). One thread each unless asked otherwise. The memory arena is on: without it the vocoder's large
buffers are mapped and cleared anew at every call, which costs a third of its time; chunks are bounded, so the arena is too.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy.typing as npt
import onnxruntime as ort

from realtime.errors import ModelMissing

Tensor = npt.NDArray[Any]


class Graph(Protocol):
    """What the runtime needs of a graph, whichever library runs it."""

    @property
    def inputs(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of each input; None where it may vary."""
        ...

    def run(self, feeds: Mapping[str, Tensor]) -> list[Tensor]:
        """All outputs, in the graph's order."""
        ...


class OrtGraph:
    """A graph on ONNX Runtime's CPU provider."""

    def __init__(self, source: Path | bytes, threads: int = 1) -> None:
        """Raises `ModelMissing` when the file is absent or not a readable graph."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Planned memory would keep one block per chunk length that ever came, 40 MB for the vocoder's largest; reuse alone is as fast.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        _share_arena()
        where = str(source) if isinstance(source, Path) else "graph"
        if isinstance(source, Path) and not source.is_file():
            raise ModelMissing(f"{where}: file is missing; run `realtime models verify` and export the voice again")
        try:
            self._session = ort.InferenceSession(
                str(source) if isinstance(source, Path) else source, options, providers=["CPUExecutionProvider"]
            )
        except _UNREADABLE as error:
            raise ModelMissing(f"{where}: not a readable graph ({str(error)[:200]}); run `realtime models verify`") from error
        _give_back()
        self.inputs: dict[str, tuple[int | None, ...]] = {
            one.name: tuple(d if isinstance(d, int) else None for d in one.shape) for one in self._session.get_inputs()
        }
        self._outputs: Sequence[str] = [one.name for one in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, Tensor]) -> list[Tensor]:
        """See `Graph`."""
        return cast(list[Tensor], self._session.run(self._outputs, dict(feeds)))


@cache
def _share_arena() -> None:
    """One arena for the working memory of all graphs and voices of the process; weights are kept outside of it."""
    info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    # Strategy 0 doubles the arena when it grows; 1 (exactly what is asked for) left it in pieces, 50 MB larger.
    ort.create_and_register_allocator(info, ort.OrtArenaCfg({"max_mem": 0, "arena_extend_strategy": 0}))


def _give_back() -> None:
    """Return what reading the file took to the system: without this the C library keeps some 20 MB per voice. Linux with glibc only."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _ort_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's own exceptions share no base but Exception; these are what opening a damaged file raises."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("InvalidProtobuf", "InvalidGraph", "NoSuchFile", "Fail", "InvalidArgument", "NotImplemented", "RuntimeException")
    return (*(getattr(state, name) for name in names), RuntimeError, ValueError)


_UNREADABLE = _ort_errors()
