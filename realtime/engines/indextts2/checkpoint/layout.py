"""Where the files of an IndexTTS-2 checkpoint are: the official folder, its auxiliary repositories in any of their usual places.

Auxiliary models are looked for inside the folder (`hf_cache/` flat as the official program leaves them, plain subfolders as repackaged
copies have them), in hub caches (`models--org--name/snapshots/*`) inside the folder, and in the user's hub cache, in that order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from realtime.engines.indextts2.checkpoint.sections import Section
from realtime.errors import ModelMissing


@dataclass(frozen=True, slots=True)
class Auxiliary:
    """One file of another repository, with the paths that it may have under a model folder."""

    what: str
    repository: str
    file: str
    flat: tuple[str, ...]
    marker: str = ""

    @property
    def sibling(self) -> str:
        """A file that tells this repository's folder from others that have a file of the same name."""
        return self.marker or self.file


W2V_WEIGHTS = Auxiliary("w2v-bert weights", "facebook/w2v-bert-2.0", "model.safetensors", ("w2v-bert-2.0/model.safetensors",))
W2V_CONFIG = Auxiliary("w2v-bert config", "facebook/w2v-bert-2.0", "config.json", ("w2v-bert-2.0/config.json",), "model.safetensors")
CODEC = Auxiliary(
    "semantic codec",
    "amphion/MaskGCT",
    "semantic_codec/model.safetensors",
    ("semantic_codec_model.safetensors", "semantic_codec/model.safetensors", "MaskGCT/semantic_codec/model.safetensors"),
)
CAMPPLUS = Auxiliary(
    "CAMPPlus speaker encoder", "funasr/campplus", "campplus_cn_common.bin", ("campplus_cn_common.bin", "campplus/campplus_cn_common.bin")
)
VOCODER_REPOSITORY = "nvidia/bigvgan_v2_22khz_80band_256x"
VOCODER_FOLDERS = ("bigvgan", "bigvgan_v2_22khz_80band_256x", "bigvgan/bigvgan_v2_22khz_80band_256x")
VOCODER_WEIGHTS = "bigvgan_generator.pt"
AUXILIARY_FOLDERS = ("hf_cache", ".")


@dataclass(frozen=True, slots=True)
class Layout:
    """A checkpoint folder and its parsed `config.yaml`; files are found when asked for. `others` are folders of auxiliary
    repositories, in any order."""

    folder: Path
    config: Section
    others: tuple[Path, ...] = ()

    @classmethod
    def open(cls, folder: Path, others: tuple[Path, ...] = ()) -> Layout:
        """Raises `ModelMissing` if there is no readable `config.yaml` of version 2.0."""
        path = folder / "config.yaml"
        try:
            table: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelMissing(f"{path}: {error.strerror or error}; an IndexTTS-2 folder has config.yaml, gpt.pth, s2mel.pth") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ModelMissing(f"{path}: not readable as YAML: {str(error).splitlines()[0]}") from None
        config = Section(table, "config.yaml")
        version = config.table.get("version")
        if version is not None and str(version) not in ("2", "2.0"):
            raise ModelMissing(f"{path}: version {version}, this program reads IndexTTS-2 (2.0)")
        return cls(folder, config, others)

    def named(self, setting: str, default: str) -> Path:
        """A file of the main repository, by the setting that names it."""
        return self.own(self.config.text(setting, default))

    def own(self, name: str) -> Path:
        """A file of the main repository. Raises `ModelMissing` if it is absent or empty."""
        path = self.folder / name
        if not path.is_file():
            raise ModelMissing(f"{path}: missing; it belongs to the repository IndexTeam/IndexTTS-2")
        if path.stat().st_size == 0:
            raise ModelMissing(f"{path}: empty; the download was cut off")
        return path

    def bpe(self) -> Path:
        """The sentencepiece model."""
        name = self.config.section("dataset").text("bpe_model", "bpe.model") if "dataset" in self.config.table else "bpe.model"
        return self.own(name)

    def notices(self) -> dict[str, Path]:
        """Licence texts that go with what is exported, by the name to give them; the vocoder's maker has one of its own."""
        own = {path.name: path for pattern in ("*LICENSE*", "DISCLAIMER*") for path in sorted(self.folder.glob(pattern))}
        vocoder = self.vocoder(VOCODER_WEIGHTS).parent
        return own | {f"{path.name}.bigvgan": path for path in sorted(vocoder.glob("LICENSE*")) if vocoder != self.folder}

    def glossary(self) -> Path | None:
        """The user's glossary, if there is one."""
        path = self.folder / "glossary.yaml"
        return path if path.is_file() else None

    def auxiliary(self, item: Auxiliary) -> Path:
        """A file of another repository. Raises `ModelMissing` listing where it was looked for."""
        tried = [self.folder / base / flat for base in AUXILIARY_FOLDERS for flat in item.flat]
        tried += [other / item.file for other in self.others if (other / item.sibling).is_file()]
        tried += [snapshot / item.file for snapshot in self._snapshots(item.repository)]
        return self._first(tried, item.what, item.repository, item.file)

    def vocoder(self, file: str) -> Path:
        """A file of the vocoder's repository, by the name that `config.yaml` gives it."""
        repository = VOCODER_REPOSITORY
        if "vocoder" in self.config.table:
            repository = self.config.section("vocoder").text("name", VOCODER_REPOSITORY)
        folders = (*VOCODER_FOLDERS, repository, repository.split("/")[-1])
        tried = [self.folder / base / folder / file for base in AUXILIARY_FOLDERS for folder in folders]
        tried += [other / file for other in self.others if (other / VOCODER_WEIGHTS).is_file()]
        # repackaged copies name a folder here ("bigvgan"); the published repository is then the one that a hub cache would hold
        repositories = dict.fromkeys((repository, VOCODER_REPOSITORY))
        tried += [snapshot / file for name in repositories for snapshot in self._snapshots(name)]
        return self._first(tried, "BigVGAN vocoder", next(r for r in reversed(repositories) if "/" in r), file)

    def _first(self, tried: list[Path], what: str, repository: str, file: str) -> Path:
        for path in tried:
            if path.is_file() and path.stat().st_size:
                return path
        places = f"{self.folder}/hf_cache, {self.folder} and the hub cache ({hub_cache()})"
        raise ModelMissing(f"{what}: {file} of {repository} is in none of {places}; `realtime models pull indextts2` fetches it")

    def _snapshots(self, repository: str) -> Iterator[Path]:
        """Snapshot folders of a repository in every hub cache, the newest first."""
        name = "models--" + repository.replace("/", "--")
        for root in (self.folder / "hf_cache", self.folder, hub_cache()):
            snapshots = root / name / "snapshots"
            if snapshots.is_dir():
                yield from sorted(snapshots.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)


def hub_cache() -> Path:
    """The user's hub cache, where huggingface_hub keeps it."""
    if "HF_HUB_CACHE" in os.environ:
        return Path(os.environ["HF_HUB_CACHE"])
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    return home / "hub"
