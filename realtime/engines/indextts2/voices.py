"""`realtime voices`, the part that knows IndexTTS-2: enrol, list, remove. Torch is imported by `add` only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from realtime.engines.indextts2 import clips, voice_pack
from realtime.engines.indextts2.emotion import NAMES
from realtime.engines.indextts2.model_files import find_model
from realtime.errors import BadOption, ModelMissing
from realtime.models import manifest

FRAMES_PER_SECOND = 22050 / 256
MAX_PROMPT_S = clips.MAX_S


@dataclass(frozen=True, slots=True)
class Request:
    """`realtime voices add`, checked. `weights` are comma-separated as typed. `checkpoint` empty takes the exported model's own."""

    name: str
    clip: Path
    emotions: Mapping[str, Path] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    languages: tuple[str, ...] = ("zh", "en")
    gender: str | None = None
    description: str = ""
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    prompt_s: float = 3.0
    consent: str = ""
    checkpoint: tuple[Path, ...] = ()


def add(request: Request, models_dir: Path, voices_dir: Path, model: str = "", report: Any = None) -> dict[str, Any]:
    """Enrol a voice and write its pack; an older one of the name is replaced -> what was made, for the command to show.

    `report` is called with the name of each step. Raises `BadOption` for clips and arguments that can't work, `ModelMissing` for files,
    `OSError` where the pack can't be written.
    """
    path = voice_pack.path_in(voices_dir, request.name)
    if not 0.5 <= request.prompt_s <= MAX_PROMPT_S:
        raise BadOption(f"the prompt may be 0.5 to {MAX_PROMPT_S:.0f} s long, not {request.prompt_s}")
    _check_emotion_names([*request.emotions, *request.weights])
    weights = {name: parsed_weights(text) for name, text in request.weights.items()}
    clip = clips.read(request.clip)
    emotion_clips = {name: clips.read(p) for name, p in request.emotions.items()}
    folders, revision, ignored = _checkpoint(request, models_dir, model)
    voices_dir.mkdir(parents=True, exist_ok=True)  # before the work: a place that can't be written is found out now

    from realtime.engines.indextts2.checkpoint.enrol import Enrolment, enrol  # torch, needed here only
    from realtime.engines.indextts2.checkpoint.load import Checkpoint

    about = voice_pack.About(
        request.name,
        revision,
        request.languages,
        request.description,
        request.gender,
        dict(request.stand_ins),
        request.consent,
        {"seconds": round(clip.seconds, 2), "rate": clip.rate, "sha256": clip.sha256, "notices": list(clip.notices)},
    )
    parts = Checkpoint(folders[0], folders[1:], ignored)
    pack = enrol(parts, Enrolment(about, clip, emotion_clips, weights, request.prompt_s), report or (lambda step: None))
    voice_pack.write(pack, path)
    notices = [*clip.notices, *(f"emotion {name}: {text}" for name, c in emotion_clips.items() for text in c.notices)]
    return {"path": str(path), "notices": notices, **described(pack, path)}


def listed(voices_dir: Path) -> list[dict[str, Any]]:
    """One row per pack; a broken one has its error in place of the rest."""
    rows: list[dict[str, Any]] = []
    for path in sorted(voices_dir.glob("*" + voice_pack.SUFFIX)) if voices_dir.is_dir() else []:
        try:
            rows.append(described(voice_pack.read(path), path))
        except ModelMissing as error:
            rows.append({"name": path.name.removesuffix(voice_pack.SUFFIX), "error": error.message})
    return rows


def remove(name: str, voices_dir: Path) -> None:
    """Delete a pack. Raises `BadOption` if there is none of that name."""
    path = voice_pack.path_in(voices_dir, name)
    if not path.is_file():
        names = ", ".join(row["name"] for row in listed(voices_dir)) or "none"
        raise BadOption(f"no voice {name!r} in {voices_dir}; there are: {names}")
    path.unlink()


def described(pack: voice_pack.VoicePack, path: Path) -> dict[str, Any]:
    """What a list shows of a pack."""
    return {
        "name": pack.about.name,
        "languages": list(pack.about.languages),
        "emotions": list(pack.emotions),
        "prompt_s": round(pack.prompt_frames / FRAMES_PER_SECOND, 2),
        "stand_ins": dict(pack.about.stand_ins),
        "revision": pack.about.revision,
        "size_mb": round(path.stat().st_size / 1e6, 1),
    }


def parsed_weights(text: str) -> tuple[float, ...]:
    """Eight numbers between 0 and 1, comma-separated, in the order of `emotion.NAMES`. Raises `BadOption`."""
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        weights = ()
    if len(weights) != len(NAMES) or not all(0 <= w <= 1 for w in weights) or math.fsum(weights) > 1:
        raise BadOption(f"an emotion vector has {len(NAMES)} numbers from 0 to 1, sum at most 1 ({', '.join(NAMES)}), not {text!r}")
    return weights


def _check_emotion_names(names: Sequence[str]) -> None:
    for name in names:
        if not name or name == voice_pack.DEFAULT or not all(c.isalnum() or c in "-_" for c in name) or names.count(name) > 1:
            raise BadOption(f"emotion name {name!r}: each once, letters, digits, - and _, and not {voice_pack.DEFAULT!r}")


def _checkpoint(request: Request, models_dir: Path, model: str) -> tuple[tuple[Path, ...], str, tuple[str, ...]]:
    """The folders of the weights, the revision that the serving side will ask for, and the keys that the export left alone."""
    try:
        about = manifest.read(find_model(models_dir, model))
    except ModelMissing:
        if not request.checkpoint:
            raise
        return request.checkpoint, "", ()
    ignored = tuple(str(p) for p in about.details.get("ignored_keys", ()))
    folders = request.checkpoint or tuple(Path(str(p)) for p in about.details.get("checkpoint", ()))
    if not folders or not all(p.is_dir() for p in folders):
        raise ModelMissing(
            f"enrolling needs the published weights of model {about.name!r}; {', '.join(map(str, folders)) or 'no folder is recorded'}: "
            "not there. Give their folder(s) with --checkpoint"
        )
    return folders, about.revision, ignored
