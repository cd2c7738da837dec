"""`realtime models export sambert`: a downloaded archive -> one folder per voice that the runtime loads without torch.

A voice's folder: one ONNX file per graph, `constants.npz` (embedding tables that are looked up in numpy, sine source, F0 scale) and
`manifest.json` (dims, symbol tables, checksums, how far the graphs are from the torch modules).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from realtime.engines.sambert.checkpoint.acoustic import AcousticModel
from realtime.engines.sambert.checkpoint.archive import VoiceArchive, VoiceFiles, find_voices, pair, read_voice
from realtime.engines.sambert.checkpoint.export_graphs import export_acoustic, export_vocoder
from realtime.engines.sambert.checkpoint.hifigan import Generator
from realtime.engines.sambert.checkpoint.layers import parts
from realtime.engines.sambert.checkpoint.load import load_strict
from realtime.engines.sambert.checkpoint.measure import measure_export
from realtime.engines.sambert.checkpoint.normed import NormedWeight
from realtime.engines.sambert.checkpoint.quantize import MIN_CHANNELS, quantize_vocoder
from realtime.engines.sambert.voice import Voice
from realtime.errors import BadOption, ModelMissing
from realtime.models import manifest

OPTIONS = {"name", "am", "voc", "licence", "revision", "emotions", "int8"}
# Through the published service, voices called `_emo` take these; other voices have one manner.
EMO_VOICE_EMOTIONS = ("neutral", "happy", "angry", "sad", "fear", "hate", "surprise")


def export(snapshots: Mapping[str, Path], out: Path, options: Mapping[str, Any]) -> list[Path]:
    """Export the voices of an archive into `out/<voice>`.

    Options: `name` (only this voice, or the name for an `am`/`voc` pair), `am` and `voc` (two folders instead of an archive's layout),
    `licence`, `revision` (recorded), `emotions` (comma-separated, instead of what the voice's name tells), `int8` (`yes`, `no`, `auto`:
    a second, faster vocoder; auto makes one where it pays).
    Raises `ModelMissing` for files that are missing or wrong, `BadOption` for unknown options.
    """
    for key in options:
        if key not in OPTIONS:
            raise BadOption(f"unknown export option {key!r}; there are: {', '.join(sorted(OPTIONS))}")
    made = []
    for repo, snapshot in snapshots.items():
        with tempfile.TemporaryDirectory(prefix="sambert-") as scratch:
            for files in _chosen(snapshot, Path(scratch), options):
                revision = str(options.get("revision") or snapshot.name)
                made.append(export_voice(read_voice(files), out, {**options, "revision": revision, "source": repo}))
    return made


def _chosen(snapshot: Path, scratch: Path, options: Mapping[str, Any]) -> list[VoiceFiles]:
    name = options.get("name")
    if options.get("am") or options.get("voc"):
        return [pair(Path(str(options.get("am"))), Path(str(options.get("voc"))), str(name or snapshot.name))]
    voices = find_voices(snapshot, scratch)
    # A published archive's own name (as `pull` uses it) stands for all of its voices.
    known = [one.name for one in voices]
    return [one for one in voices if one.name == name] if name in known else voices


def export_voice(archive: VoiceArchive, out: Path, options: Mapping[str, Any]) -> Path:
    """Write one voice's folder under `out`; an older one of the same name is replaced only when the new one is whole."""
    torch.set_grad_enabled(False)
    model, generator = AcousticModel(archive.acoustic), Generator(archive.vocoder)
    load_strict(model, archive.acoustic_state, str(archive.acoustic_file))
    load_strict(generator, archive.vocoder_state, str(archive.vocoder_file))
    out.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{archive.name}-", dir=out))
    draft.chmod(0o755)
    try:
        with Progress(transient=True, disable=not os.isatty(2)) as progress:
            task = progress.add_task(f"exporting {archive.name}", total=4)
            graphs = export_acoustic(model)
            progress.advance(task)
            graphs["vocoder"] = export_vocoder(generator)
            progress.advance(task)
            for stem, blob in graphs.items():
                (draft / f"{stem}.onnx").write_bytes(blob)
            np.savez(draft / "constants.npz", **constants(model, generator, archive))
            about = manifest.write(draft, _manifest(archive, model, {}, options))
            figures = measure_export(model, generator, Voice.load(draft))
            progress.advance(task)
            if _wants_int8(options, archive):
                quantize_vocoder(draft, Voice.load(draft))
            manifest.write(draft, replace(about, details={**about.details, "difference_to_torch": figures}))
            progress.advance(task)
        target = out / archive.name
        if target.exists():
            shutil.rmtree(target)
        os.replace(draft, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return target


def _wants_int8(options: Mapping[str, Any], archive: VoiceArchive) -> bool:
    wish = str(options.get("int8") or "auto")
    if wish not in ("yes", "no", "auto"):
        raise BadOption(f"export option int8 is yes, no or auto, not {wish!r}")
    return wish == "yes" or (wish == "auto" and archive.vocoder.channels >= MIN_CHANNELS)


def constants(model: AcousticModel, generator: Generator, archive: VoiceArchive) -> dict[str, Any]:
    """What the runtime looks up or computes in numpy."""
    out: dict[str, Any] = {"emotion": model.emo_tokenizer.weight.numpy()}
    if archive.acoustic.SE:
        if archive.speaker_embedding is None:
            raise ModelMissing(f"{archive.name}: a speaker-embedding voice without se.npy")
        out["speaker_embedding"] = archive.speaker_embedding
    else:
        out["speaker"] = model.spk_tokenizer.weight.numpy()
    if archive.vocoder.is_nsf:
        (mix,) = parts(generator.source_module.ffn, NormedWeight)
        assert mix.bias is not None
        out["source_weight"], out["source_bias"] = mix.folded().numpy().reshape(-1), mix.bias.numpy()
    if archive.acoustic.NSF:
        low, high = archive.acoustic.nsf_f0_global_minimum, archive.acoustic.nsf_f0_global_maximum
        mvn = archive.f0_mvn
        out["f0_scale"] = np.array([high - low, low] if mvn is None else [mvn[1], mvn[0]], np.float32)
    return out


def _manifest(archive: VoiceArchive, model: AcousticModel, figures: Mapping[str, float], options: Mapping[str, Any]) -> manifest.Manifest:
    given = str(options.get("emotions") or "")
    emotions = [name.strip() for name in given.split(",") if name.strip()] or (
        list(EMO_VOICE_EMOTIONS) if archive.name.endswith("_emo") else []
    )
    return manifest.Manifest(
        engine="sambert",
        name=archive.name,
        revision=str(options.get("revision") or "unknown"),
        sample_rate=archive.sample_rate,
        languages=("zh", "en"),
        licence=str(options.get("licence") or "see the model's page"),
        source=str(options.get("source") or ""),
        details={
            "acoustic": asdict(archive.acoustic),
            "vocoder": asdict(archive.vocoder),
            "tables": {name: list(entries) for name, entries in archive.vocabulary.tables.items()},
            "postnet_delay": model.mel_postnet.fsmn.look_ahead,
            "emotions": emotions,
            "checkpoints": [archive.acoustic_file.name, archive.vocoder_file.name],
            "difference_to_torch": dict(figures),
        },
    )
