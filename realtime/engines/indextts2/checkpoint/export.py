"""`realtime models export indextts2`: an official checkpoint -> the folder that `model_files` describes, and ONNX graphs over it.

Written piece by piece into `.<name>.part`; a run that was broken off goes on behind the last whole piece, and the finished folder
replaces an older one in one step. One model is in memory at a time: at official sizes the peak is about 4.5 GB (the manifest records the
measured one), the folder takes 2.9 GB and a minute.
"""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from realtime.engines.indextts2 import model_files
from realtime.engines.indextts2.checkpoint.graphs import Graph, content_graph, flow_graphs, language_graphs, vocoder_graph
from realtime.engines.indextts2.checkpoint.load import Checkpoint, Parts
from realtime.engines.indextts2.checkpoint.onnx_file import write_graph
from realtime.engines.indextts2.tokens import TextFrontEnd
from realtime.errors import BadOption, ModelMissing
from realtime.models import manifest

OPTIONS = {"name", "licence", "revision", "onnx", "precision", "ignore"}
LICENCE = "bilibili Model Use License Agreement (IndexTTS-2); BigVGAN MIT; MaskGCT codec: see its model card"
GPT_SERVING = ("gpt.", "final_norm.", "mel_head.", "text_embedding.", "mel_embedding.", "text_pos_embedding.", "mel_pos_embedding.")
CODEC_SERVING = ("quantizer.quantizers.0.codebook.", "quantizer.quantizers.0.out_project.")
PRECISIONS = {"float32": torch.float32, "float16": torch.float16}
STATE = "export.json"
SLACK = 1.05
"""Disk asked for, as a multiple of the weights: graphs, vocabulary, manifest."""
GRAPH_TOLERANCE = 1e-3
"""Largest difference of a graph from torch, relative to its largest output. Measured at official sizes: 1e-5 and below (LOG)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an export is asked for."""

    name: str
    licence: str = LICENCE
    revision: str = ""
    source: str = ""
    onnx: bool = True
    precision: str = "float32"
    details: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise BadOption(f"precision {self.precision!r}; there are: {', '.join(PRECISIONS)}")
        if not self.name or self.name.startswith(".") or "/" in self.name:
            raise BadOption(f"model name {self.name!r} is no folder name")


def export(snapshots: Mapping[str, Path], out: Path, options: Mapping[str, Any]) -> list[Path]:
    """Export a checkpoint from its main folder (the one with `config.yaml`) and those of its auxiliary repositories.

    Options: `name` (default: indextts2), `licence`, `revision`, `onnx` (on, off), `precision` of the stored weights (float32, float16;
    graphs need float32), `ignore` (pattern of keys that the files may hold in excess of the known ones).
    Raises `ModelMissing` for files that are missing or wrong or a full disk, `BadOption` for unknown options.
    """
    for key in options:
        if key not in OPTIONS:
            raise BadOption(f"unknown export option {key!r}; there are: {', '.join(sorted(OPTIONS))}")
    mains = {repo: folder for repo, folder in snapshots.items() if (folder / "config.yaml").is_file()}
    if len(mains) != 1:
        raise ModelMissing(f"expected one folder with config.yaml, found {len(mains)} among {', '.join(map(str, snapshots.values()))}")
    ((repo, main),) = mains.items()
    others = tuple(folder for folder in snapshots.values() if folder != main)
    precision = str(options.get("precision") or "float32")
    ignored = (str(options["ignore"]),) if options.get("ignore") else ()
    settings = Settings(
        name=str(options.get("name") or "indextts2"),
        licence=str(options.get("licence") or LICENCE),
        revision=str(options.get("revision") or main.name),
        source=repo,
        onnx=_switch(options.get("onnx"), precision == "float32"),
        precision=precision,
        details={"checkpoint": [str(folder.resolve()) for folder in (main, *others)], "ignored_keys": list(ignored)},
    )
    return [export_parts(Checkpoint(main, others, ignored), out, settings)]


def export_parts(parts: Parts, out: Path, settings: Settings) -> Path:
    """Export any set of models into `out/<name>`; see the module's text."""
    work = Work.open(out, settings, parts.fingerprint())
    work.check_disk(_bytes_needed(parts, settings))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    try:
        with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress, torch.inference_mode():
            steps = _steps(parts, work, settings)
            task = progress.add_task("", total=len(steps))
            for name, step in steps.items():
                progress.update(task, description=f"{settings.name}: {name}")
                if name not in work.done:
                    work.finish(name, step())
                progress.advance(task)
        folder = work.publish(settings)
        console.print(f"{settings.name}: {_folder_bytes(folder) / 1e9:.1f} GB written, peak memory {_peak_mb() / 1000:.1f} GB")
        return folder
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ModelMissing(
            f"the disk of {out} is full; what is whole is kept in {work.folder}: free space, run the command again"
        ) from None


Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Step:
    """What a finished step left: the figures that it measured, and its files with their sizes."""

    figures: Figures
    files: dict[str, int]

    def is_whole(self, folder: Path) -> bool:
        """Whether its files are still there as it left them."""
        return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in self.files.items())


@dataclass(slots=True)
class Work:
    """The unfinished folder, and the steps whose files are whole."""

    folder: Path
    target: Path
    fingerprint: str
    done: dict[str, Step]

    @classmethod
    def open(cls, out: Path, settings: Settings, fingerprint: str) -> Work:
        """Go on with an unfinished export of the same weights and settings, or start a new one."""
        folder = out / f".{settings.name}.part"
        key = f"{fingerprint}:{settings.precision}:{settings.onnx}"
        done: dict[str, Step] = {}
        try:
            state = json.loads((folder / STATE).read_text(encoding="utf-8"))
            steps = {name: Step(**step) for name, step in state["done"].items()} if state["fingerprint"] == key else {}
            done = {name: step for name, step in steps.items() if step.is_whole(folder)}
        except (OSError, ValueError, KeyError, TypeError):
            done = {}  # nothing there, or broken off while it was begun
        if not done:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, out / settings.name, key, done)

    def check_disk(self, needed: int) -> None:
        """Raise `ModelMissing` if the disk lacks room for what is still to be written."""
        have = _folder_bytes(self.folder)
        free = shutil.disk_usage(self.folder).free
        if free + have < needed:
            raise ModelMissing(f"{self.target}: the export takes {needed / 1e9:.1f} GB, {(free + have) / 1e9:.1f} GB are free there")

    def finish(self, step: str, figures: Figures) -> None:
        """Remember that a step's files are whole."""
        known = {STATE, *(name for done in self.done.values() for name in done.files)}
        self.done[step] = Step(figures, {p.name: p.stat().st_size for p in self.folder.iterdir() if p.name not in known})
        draft = self.folder / (STATE + ".part")
        draft.write_text(
            json.dumps({"fingerprint": self.fingerprint, "done": {k: asdict(v) for k, v in self.done.items()}}), encoding="utf-8"
        )
        os.replace(draft, self.folder / STATE)

    def save(self, name: str, state: Mapping[str, Tensor], precision: str) -> Path:
        """Write a weight file, whole or not at all."""
        kind = PRECISIONS[precision]
        path, part = self.folder / f"{name}.safetensors", self.folder / f"{name}.safetensors.part"
        try:
            save_file({k: (v.to(kind) if v.is_floating_point() else v).contiguous() for k, v in state.items()}, part)
        except SafetensorError as error:  # the library's own; a full disk is among them, by its number only
            if found := re.search(r"os error (\d+)", str(error)):
                raise OSError(int(found[1]), os.strerror(int(found[1])), str(part)) from error
            raise
        part.chmod(0o644)  # the library writes for its user alone; the service may be another
        os.replace(part, path)
        return path

    def publish(self, settings: Settings) -> Path:
        """Write the manifest and put the folder in its place."""
        (self.folder / STATE).unlink(missing_ok=True)
        errors = {name: error for step in self.done.values() for name, error in step.figures.items()}
        details = {
            **(settings.details or {}),
            "precision": settings.precision,
            "difference_to_torch": errors,
            "peak_memory_mb": _peak_mb(),
        }
        about = manifest.Manifest(
            engine="indextts2",
            name=settings.name,
            revision=settings.revision or self.fingerprint[:12],
            sample_rate=_sample_rate(self.folder),
            languages=("zh", "en"),
            licence=settings.licence,
            source=settings.source,
            details=details,
        )
        manifest.write(self.folder, about)
        old = self.target.with_name(f".{self.target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if self.target.exists():
            os.replace(self.target, old)
        os.replace(self.folder, self.target)
        shutil.rmtree(old, ignore_errors=True)
        return self.target


def _steps(parts: Parts, work: Work, settings: Settings) -> dict[str, Callable[[], Figures]]:
    return {
        "vocabulary": lambda: _write_small(parts, work),
        "language model": lambda: _write_gpt(parts, work, settings),
        "flow decoder": lambda: _write_flow(parts, work, settings),
        "vocoder": lambda: _write_vocoder(parts, work, settings),
    }


def _write_small(parts: Parts, work: Work) -> Figures:
    """Sizes, vocabulary (checked against the model) and glossary."""
    tables = parts.tables()
    vocabulary = parts.bpe_model()
    TextFrontEnd(vocabulary, int(tables["gpt"]["number_text_tokens"]))
    (work.folder / model_files.VOCABULARY).write_bytes(vocabulary)
    (work.folder / model_files.CONFIG).write_text(json.dumps(tables, default=dict, indent=1), encoding="utf-8")
    if isinstance(parts, Checkpoint):
        glossary = parts.layout.glossary()
        for name, path in (parts.layout.notices() | ({glossary.name: glossary} if glossary else {})).items():
            shutil.copyfile(path, work.folder / name)
    return {}


def _write_gpt(parts: Parts, work: Work, settings: Settings) -> Figures:
    gpt = parts.gpt()
    weights = work.save("gpt", _some(gpt.state_dict(), GPT_SERVING), settings.precision)
    return _write_graphs(language_graphs(gpt), settings, weights)


def _write_flow(parts: Parts, work: Work, settings: Settings) -> Figures:
    s2mel, codec = parts.s2mel(), parts.codec()
    flow = work.save("s2mel", s2mel.state_dict(), settings.precision)
    book = work.save("codec", _some(codec.state_dict(), CODEC_SERVING), settings.precision)
    return _write_graphs([content_graph(codec, s2mel), *flow_graphs(s2mel)], settings, flow, book)


def _write_vocoder(parts: Parts, work: Work, settings: Settings) -> Figures:
    vocoder = parts.vocoder()
    weights = work.save("bigvgan", vocoder.state_dict(), settings.precision)
    return _write_graphs([vocoder_graph(vocoder)], settings, weights)


def _write_graphs(graphs: Iterable[Graph], settings: Settings, *weights: Path) -> Figures:
    """Write graphs over weight files and measure each against torch."""
    if not settings.onnx:
        return {}
    return {graph.name: measured(graph, write_graph(graph, *weights)) for graph in graphs}


def measured(graph: Graph, path: Path) -> float:
    """Largest difference between the file in ONNX Runtime and the module, relative to the largest output.

    Raises `ModelMissing` above `GRAPH_TOLERANCE`: the runtime and torch disagree, the file is of no use.
    """
    inputs = graph.probe(seed=1)
    ours = graph.module(*inputs.values())
    expected = [y.numpy() for y in (ours if isinstance(ours, tuple) else (ours,))]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = session.run(None, {name: x.numpy() for name, x in inputs.items()})
    error = max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-6)) for a, b in zip(found, expected, strict=True))
    if not error <= GRAPH_TOLERANCE:
        raise ModelMissing(f"{path.name}: ONNX Runtime differs from torch by {error:.1e} of the largest output; the export is of no use")
    return error


def _some(state: Mapping[str, Tensor], starts: tuple[str, ...]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if k.startswith(starts)}


def _bytes_needed(parts: Parts, settings: Settings) -> int:
    """Bytes of the finished folder, from the sizes alone."""
    width = 4 if settings.precision == "float32" else 2
    return int(width * SLACK * sizes_of(parts.tables()))


def sizes_of(tables: Mapping[str, Mapping[str, Any]]) -> int:
    """Numbers in the exported weights, counted on modules without memory."""
    from realtime.engines.indextts2.checkpoint.random_weights import RandomParts  # not at the top: it exports too

    config = {**tables, "emo_num": [1]}
    counting = RandomParts(config=config, vocoder=tables["bigvgan"])
    with torch.device("meta"):
        states = [
            _some(counting.gpt().state_dict(), GPT_SERVING),
            counting.s2mel().state_dict(),
            _some(counting.codec().state_dict(), CODEC_SERVING),
            counting.vocoder().state_dict(),
        ]
    return sum(tensor.numel() for state in states for tensor in state.values())


def _peak_mb() -> int:
    """Most memory that this process held, mapped files included (Linux counts kilobytes)."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _folder_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.iterdir())


def _sample_rate(folder: Path) -> int:
    table = json.loads((folder / model_files.CONFIG).read_text(encoding="utf-8"))
    return int(table["bigvgan"]["sampling_rate"])


def _switch(value: object, default: bool) -> bool:
    if value is None:
        return default
    if str(value) not in ("on", "off"):
        raise BadOption(f"onnx is on or off, not {value!r}")
    return str(value) == "on"
