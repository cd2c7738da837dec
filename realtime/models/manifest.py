"""`manifest.json`: what an exported model is, where it came from, and the checksum of every file of it.

An engine loads nothing that its manifest does not list, and `verify` compares files with it. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from realtime.errors import ModelMissing

FORMAT = 1
FILE_NAME = "manifest.json"
BLOCK = 1 << 20


@dataclass(frozen=True)
class FileRecord:
    """One file of a model."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """An exported model. `details` is the engine's own (dims, tables, parity figures)."""

    engine: str
    name: str
    revision: str
    sample_rate: int
    languages: tuple[str, ...]
    licence: str = "not stated"
    source: str = ""
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT


def write(folder: Path, manifest: Manifest) -> Manifest:
    """Record every file in `folder` (sub-folders too) and write the manifest last, so that a half-written model has none."""
    files = {
        str(path.relative_to(folder)): FileRecord(sha256_of(path), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != FILE_NAME
    }
    full = Manifest(**{**vars(manifest), "files": files})
    draft = folder / (FILE_NAME + ".part")
    draft.write_text(json.dumps(asdict(full), ensure_ascii=False, indent=1), encoding="utf-8")
    os.replace(draft, folder / FILE_NAME)
    return full


def read(folder: Path) -> Manifest:
    """Read a model's manifest and check that its files are there with the right sizes (cheap; `verify` reads them whole).

    Raises `ModelMissing` that names the file and what to run.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise ModelMissing(f"{folder}: no {FILE_NAME}; export the model with `realtime models export`")
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        files = {name: FileRecord(**record) for name, record in table.pop("files").items()}
        manifest = Manifest(**{**table, "files": files, "languages": tuple(table["languages"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelMissing(f"{path}: not a readable manifest ({error}); export the model again") from error
    if manifest.format != FORMAT:
        raise ModelMissing(f"{path}: format {manifest.format}, this version reads {FORMAT}; export the model again")
    for name, record in files.items():
        file = folder / name
        if not file.is_file():
            raise ModelMissing(f"{file}: file is missing; export the model again")
        if file.stat().st_size != record.bytes:
            raise ModelMissing(f"{file}: {file.stat().st_size} bytes, the manifest says {record.bytes}; the file is truncated or changed")
    return manifest


def problems(folder: Path, progress: Callable[[int], None] = lambda count: None) -> list[str]:
    """Compare every file with its checksum -> what is wrong, empty if nothing. `progress` gets the bytes read."""
    try:
        manifest = read(folder)
    except ModelMissing as error:
        return [error.message]
    wrong = []
    for name, record in manifest.files.items():
        if sha256_of(folder / name, progress) != record.sha256:
            wrong.append(f"{folder / name}: checksum differs from the manifest's; export or pull the model again")
    return wrong


def sha256_of(path: Path, progress: Callable[[int], None] = lambda count: None) -> str:
    """Checksum of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            progress(len(block))
    return digest.hexdigest()
