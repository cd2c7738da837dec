"""Packed weights on disk: what is written is what is read, and what a killed process leaves does no harm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from realtime.engines.indextts2.kernels.packing import Kind, Weight, pack, unpack
from realtime.engines.indextts2.packs import Mapped, Packs, through_file
from realtime.errors import ModelMissing


def built(packs: Packs, made: list[str]) -> tuple[dict[Kind, Weight], np.ndarray]:
    random = np.random.default_rng(0)

    def make(kind: Kind) -> Weight:
        made.append(kind.name)
        return pack(random.standard_normal((40, 70, 3), dtype=np.float32), kind, np.arange(40, dtype=np.float32))

    weights = {kind: packs.weight(kind.name, lambda kind=kind: make(kind)) for kind in Kind}
    return weights, packs.array("table", lambda: np.arange(12, dtype=np.float16).reshape(3, 4))


def test_weights_and_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    made: list[str] = []
    path = tmp_path / "cache" / "a.pack"
    weights, table = through_file(path, lambda packs: built(packs, made))
    assert made == [kind.name for kind in Kind] and path.is_file()
    fresh: list[str] = []
    exact = {kind: pack(x, kind) for kind, x in zip(Kind, _inputs(), strict=True)}
    again, _ = through_file(path, lambda packs: built(packs, fresh))
    assert fresh == []
    for kind in Kind:
        for read in (weights[kind], again[kind]):
            assert np.array_equal(unpack(read), unpack(exact[kind]))
            assert read.bias is not None and np.array_equal(read.bias[:40], np.arange(40))
            assert read.data.ctypes.data % 64 == 0
    assert np.array_equal(table, np.arange(12, dtype=np.float16).reshape(3, 4))


def _inputs() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.standard_normal((40, 70, 3), dtype=np.float32) for _ in Kind]


def test_a_draft_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.pack"
    (tmp_path / "a.99999.part").write_bytes(b"half")
    through_file(path, lambda packs: built(packs, []))
    assert {p.name for p in tmp_path.iterdir()} == {"a.pack", "a.lock"}


def test_a_failed_packing_leaves_nothing(tmp_path: Path) -> None:
    def fails(packs: Packs) -> None:
        packs.array("x", lambda: np.zeros(3))
        raise ValueError("a wrong weight")

    with pytest.raises(ValueError, match="a wrong weight"):
        through_file(tmp_path / "a.pack", fails)
    assert {p.name for p in tmp_path.iterdir()} == {"a.lock"}


@pytest.mark.parametrize("damage", [b"", b"short", b"\xff" * 200])
def test_a_damaged_file_says_what_to_do(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "a.pack"
    path.write_bytes(damage)
    with pytest.raises(ModelMissing, match="delete it"):
        Mapped(path)


def test_a_file_that_lacks_a_weight_says_which(tmp_path: Path) -> None:
    path = tmp_path / "a.pack"
    through_file(path, lambda packs: packs.array("x", lambda: np.zeros(3)))
    with pytest.raises(ModelMissing, match="lacks y"):
        Mapped(path).array("y", lambda: np.zeros(3))


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelMissing, match="cache_dir"):
        through_file(tmp_path / "file" / "a.pack", lambda packs: None)
