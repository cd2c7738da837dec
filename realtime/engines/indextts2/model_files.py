"""What an exported IndexTTS-2 model is on disk, and reading it. No torch.

    manifest.json        realtime.models.manifest: revision, licence, checksum of every file
    config.json          the sizes: {"gpt": {...}, "s2mel": {...}, "semantic_codec": {...}, "bigvgan": {...}}, names as in the
                         official config.yaml (and BigVGAN's config.json)
    gpt.safetensors      official keys of gpt.pth that serving needs: gpt.h.*, gpt.ln_f.*, final_norm.*, mel_head.*, text_embedding,
                         mel_embedding, text_pos_embedding, mel_pos_embedding
    s2mel.safetensors    cfm.*, length_regulator.*, gpt_layer.* (the nets of s2mel.pth joined by a dot)
    codec.safetensors    quantizer.quantizers.0.codebook.weight and .out_project.*
    bigvgan.safetensors  the generator, with weight norm or folded
    bpe.model            sentencepiece vocabulary
    glossary.yaml        optional

Floats may be stored as float32, float16 or bfloat16; they are widened on reading. Other keys are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from realtime.engines.indextts2.normal import Glossary
from realtime.engines.indextts2.store import Tensors
from realtime.errors import ModelMissing
from realtime.models import manifest

PARTS = ("gpt", "s2mel", "codec", "bigvgan")
SECTIONS = ("gpt", "s2mel", "semantic_codec", "bigvgan")
CONFIG = "config.json"
VOCABULARY = "bpe.model"
GLOSSARY = "glossary.yaml"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """An exported model whose manifest was read and whose files have the sizes it says."""

    path: Path
    manifest: manifest.Manifest
    config: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> ModelFolder:
        """Raises `ModelMissing` naming the file and what to run."""
        found = manifest.read(path)
        for name in (CONFIG, VOCABULARY, *(f"{part}.safetensors" for part in PARTS)):
            if name not in found.files:
                raise ModelMissing(f"{path}: the manifest lists no {name}; export the model again")
        try:
            config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
            missing = [name for name in SECTIONS if not isinstance(config.get(name), dict)]
        except (ValueError, AttributeError, OSError) as error:
            raise ModelMissing(f"{path / CONFIG}: not readable: {error}") from error
        if missing:
            raise ModelMissing(f"{path / CONFIG}: section {missing[0]!r} is missing")
        return cls(path, found, config)

    def tensors(self, part: str) -> Tensors:
        """All tensors of a part, read on demand, floats as float32."""
        return LazyTensors(self.path / f"{part}.safetensors")

    def fingerprint(self, part: str) -> str:
        """Names the content of a part, for files derived from it."""
        return f"{self.manifest.files[f'{part}.safetensors'].sha256}-{self.manifest.files[CONFIG].sha256}"

    def vocabulary(self) -> bytes:
        """Content of bpe.model."""
        return (self.path / VOCABULARY).read_bytes()

    def glossary(self) -> Glossary | None:
        """The terms of glossary.yaml, if the model has one. Raises `ModelMissing` naming its first wrong entry."""
        return Glossary.read(self.path / GLOSSARY) if GLOSSARY in self.manifest.files else None


def write_model(
    path: Path, about: manifest.Manifest, config: Mapping[str, Any], parts: Mapping[str, Tensors], vocabulary: bytes
) -> manifest.Manifest:
    """Write a model folder; the manifest comes last, so a folder that has one is whole. `parts` are those of `PARTS`."""
    path.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        save_file({name: np.ascontiguousarray(x) for name, x in parts[part].items()}, path / f"{part}.safetensors")
    (path / CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")
    (path / VOCABULARY).write_bytes(vocabulary)
    return manifest.write(path, about)


class LazyTensors(Mapping[str, Any]):
    """A safetensors file, each tensor read when asked for, floats widened to float32. Raises `ModelMissing` if it isn't readable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = safe_open(path, "numpy")
            self._names: frozenset[str] = frozenset(self._file.keys())  # type: ignore[no-untyped-call]
        except (OSError, SafetensorError) as error:
            raise ModelMissing(f"{path}: not readable: {error}; export the model again") from error

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(f"{self.path} has no tensor {name}")
        try:
            x = self._file.get_tensor(name)  # type: ignore[no-untyped-call]
        except (OSError, SafetensorError, TypeError) as error:
            raise ModelMissing(f"{self.path}: tensor {name} is not readable: {error}; export the model again") from error
        return x.astype(np.float32) if x.dtype != np.float32 and (x.dtype.kind == "f" or "bfloat" in str(x.dtype)) else x

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def __len__(self) -> int:
        return len(self._names)


def find_model(models_dir: Path, name: str = "") -> Path:
    """The model folder to serve: `models_dir` itself, its sub-folder `name`, or the only one there is. Raises `ModelMissing`."""
    if (models_dir / manifest.FILE_NAME).is_file():
        return models_dir
    found = sorted(path.parent for path in models_dir.glob(f"*/{manifest.FILE_NAME}"))
    if name:
        found = [path for path in found if path.name == name]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ModelMissing(
            f"{models_dir}: no exported IndexTTS-2 model{f' named {name!r}' if name else ''}; run `realtime models pull indextts2`"
        )
    raise ModelMissing(f"{models_dir} has several models ({', '.join(p.name for p in found)}); choose one with the option `model`")
