"""Packed weights on disk: made once per model and precision, then mapped, so that every worker of a host shares one copy.

A pack file is blobs at multiples of 64 bytes, then a JSON index, the index's length (8 bytes, little endian) and a magic number. It lies in
the cache folder under a name made of everything that its content depends on; deleting it costs one packing.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from realtime.engines.indextts2.kernels.packing import Kind, Weight
from realtime.errors import ModelMissing

MAGIC = b"RTPACK01"
ALIGN = 64
T = TypeVar("T")
Array = npt.NDArray[Any]


class Packs(Protocol):
    """Where a stage gets its packed weights: `make` is called only where they aren't at hand."""

    def weight(self, name: str, make: Callable[[], Weight]) -> Weight: ...

    def array(self, name: str, make: Callable[[], Array]) -> Array: ...


class Fresh:
    """Made now, kept nowhere."""

    def weight(self, name: str, make: Callable[[], Weight]) -> Weight:
        """`make()`."""
        return make()

    def array(self, name: str, make: Callable[[], Array]) -> Array:
        """`make()`."""
        return make()


class Recorder:
    """Made now and written to a file as they come, so that no two copies are in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.index: dict[str, Any] = {}

    def weight(self, name: str, make: Callable[[], Weight]) -> Weight:
        """Make and write a weight."""
        w = make()
        head = {"kind": int(w.kind), "n": w.n, "k": w.k, "taps": w.taps, "k_pad": w.k_pad, "group": w.group}
        parts = {part: self._blob(x) for part, x in (("data", w.data), ("scale", w.scale), ("bias", w.bias)) if x is not None}
        self.index[name] = head | parts
        return w

    def array(self, name: str, make: Callable[[], Array]) -> Array:
        """Make and write an array."""
        x = make()
        self.index[name] = {"data": self._blob(x)}
        return x

    def _blob(self, x: Array) -> dict[str, Any]:
        at = self.file.tell()
        pad = -at % ALIGN
        self.file.write(bytes(pad))
        self.file.write(np.ascontiguousarray(x).data)
        return {"at": at + pad, "dtype": x.dtype.str, "shape": list(x.shape)}

    def finish(self) -> None:
        """Write the index."""
        text = json.dumps(self.index).encode()
        self.file.write(text + struct.pack("<Q", len(text)) + MAGIC)


class Mapped:
    """Read from a file by mapping it. Raises `ModelMissing` when it is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.data = np.memmap(path, dtype=np.uint8, mode="r")
            tail = bytes(self.data[-16:])
            size = struct.unpack("<Q", tail[:8])[0]
            if tail[8:] != MAGIC:
                raise ValueError("it has no end mark")
            self.index = json.loads(bytes(self.data[-16 - size : -16]))
        except (OSError, ValueError, struct.error) as error:
            raise ModelMissing(f"{path}: not a usable pack file: {error}; delete it, it will be made again") from error

    def weight(self, name: str, make: Callable[[], Weight]) -> Weight:
        """A weight whose arrays lie in the file."""
        e = self._entry(name)
        bias = np.array(self._view(e["bias"])) if "bias" in e else None
        scale = self._view(e["scale"]) if "scale" in e else None
        return Weight(Kind(e["kind"]), e["n"], e["k"], e["taps"], e["k_pad"], e["group"], self._view(e["data"]), scale, bias)

    def array(self, name: str, make: Callable[[], Array]) -> Array:
        """An array that lies in the file."""
        return self._view(self._entry(name)["data"])

    def _entry(self, name: str) -> dict[str, Any]:
        try:
            entry: dict[str, Any] = self.index[name]
        except KeyError:
            raise ModelMissing(f"{self.path} lacks {name}; delete it, it will be made again") from None
        return entry

    def _view(self, blob: dict[str, Any]) -> Array:
        dtype, shape = np.dtype(blob["dtype"]), blob["shape"]
        size = dtype.itemsize * int(np.prod(shape))
        view: Array = np.asarray(self.data[blob["at"] : blob["at"] + size]).view(dtype).reshape(shape)
        return view


def through_file(path: Path, build: Callable[[Packs], T]) -> T:
    """What `build` makes, with its packed weights in the file at `path`: written first if it isn't there. Raises `ModelMissing`.

    One process packs while others that want the same file wait for it, so that they share it afterwards.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.is_file():
                _record(path, build)
    except OSError as error:
        raise ModelMissing(f"cannot write packed weights to {path.parent}: {error}; choose another folder with `cache_dir`") from error
    return build(Mapped(path))


def _record(path: Path, build: Callable[[Packs], T]) -> None:
    for stale in path.parent.glob(f"{path.stem}.*.part"):  # of a process that was killed: the lock is ours, nobody writes one
        stale.unlink(missing_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.part")
    try:
        with open(draft, "wb") as file:
            recorder = Recorder(file)
            build(recorder)
            recorder.finish()
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
