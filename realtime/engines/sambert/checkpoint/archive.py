"""A downloaded archive: which voices are in it, and each one's files, configuration and tables, checked.

Layouts that exist in public: `voices/<name>/{am,voc,dict}` with `voices/voices.json` and `configuration.json` (ModelScope snapshots; older
ones carry `voices.zip` instead of the folder), and `basemodel_16k/{sambert,hifigan}` (pre-training repositories). Archives before 2023 hold
TensorFlow files; they are refused by name.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from realtime.engines.sambert.checkpoint.load import newest_checkpoint, read_checkpoint
from realtime.engines.sambert.dims import AcousticDims, VocoderDims, acoustic_dims, refuse_unspeakable, vocoder_dims
from realtime.engines.sambert.symbols import BUILT_IN, DICT_FILES, FIELDS, Vocabulary, read_dict_file
from realtime.errors import BadOption, ModelMissing

LANGUAGE = "PinYin"
MAX_UNZIPPED_BYTES = 4 << 30
"""A voices.zip that unpacks to more is not a voice archive (four published voices are below 0.6 GB)."""
_TENSORFLOW = (".pb", ".index", ".meta", ".tflite", ".h5")


@dataclass(frozen=True)
class VoiceFiles:
    """Where one voice's parts lie."""

    name: str
    am: Path
    voc: Path
    audio: Path | None
    dicts: Path | None
    archive: Path


@dataclass(frozen=True, eq=False)
class VoiceArchive:
    """One voice, read and checked, weights still as they are in the file."""

    name: str
    acoustic: AcousticDims
    vocoder: VocoderDims
    vocabulary: Vocabulary
    sample_rate: int
    acoustic_state: Mapping[str, Any]
    vocoder_state: Mapping[str, Any]
    acoustic_file: Path
    vocoder_file: Path
    speaker_embedding: npt.NDArray[np.float32] | None
    f0_mvn: npt.NDArray[np.float32] | None


def find_voices(snapshot: Path, unpack_to: Path) -> list[VoiceFiles]:
    """The voices of a downloaded archive, the default one first. A `voices.zip` is unpacked into `unpack_to`.

    Raises `ModelMissing` when there is none, naming what is wrong.
    """
    root = snapshot
    if not (snapshot / "voices").is_dir() and (snapshot / "voices.zip").is_file():
        _unzip(snapshot / "voices.zip", unpack_to)
        root = unpack_to if (unpack_to / "voices").is_dir() else unpack_to.parent
    folder = root / "voices" if (root / "voices").is_dir() else None
    if folder is not None:
        return [_voice_files(folder / name, snapshot) for name in _voice_names(folder)]
    for base in sorted(snapshot.glob("basemodel*")):
        if (base / "sambert").is_dir() and (base / "hifigan").is_dir():
            return [
                VoiceFiles(
                    base.name, base / "sambert", base / "hifigan", _first(base / "audio_config.yaml"), _first(base / "dict"), snapshot
                )
            ]
    if (snapshot / "am").is_dir():
        return [_voice_files(snapshot, snapshot)]
    _refuse_tensorflow(snapshot)
    raise ModelMissing(f"{snapshot}: neither voices/, voices.zip nor basemodel_*/ in it; this is not a Sambert archive")


def _voice_names(folder: Path) -> list[str]:
    listing = folder / "voices.json"
    present = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))
    if not listing.is_file():
        if not present:
            raise ModelMissing(f"{folder}: no voices in it")
        return present
    try:
        names = json.loads(listing.read_text(encoding="utf-8"))["voices"]
        listed = [str(name) for name in names]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelMissing(f'{listing}: should be {{"voices": [names]}} ({error})') from error
    for name in listed:
        if name not in present:
            raise ModelMissing(f"{folder / name}: voices.json lists this voice, but its folder is missing")
    if not listed:
        raise ModelMissing(f"{listing}: lists no voices")
    return listed


def _voice_files(folder: Path, archive: Path) -> VoiceFiles:
    for part in ("am", "voc"):
        if not (folder / part).is_dir():
            _refuse_tensorflow(folder)
            raise ModelMissing(f"{folder / part}: folder is missing")
    return VoiceFiles(folder.name, folder / "am", folder / "voc", _first(folder / "audio_config.yaml"), _first(folder / "dict"), archive)


def _first(path: Path) -> Path | None:
    return path if path.exists() else None


def _refuse_tensorflow(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.suffix in _TENSORFLOW or ".ckpt-" in path.name or ".data-0000" in path.name:
            raise ModelMissing(
                f"{path}: this archive is of the TensorFlow generation (before 2023); pull a revision whose voices have "
                "am/ckpt/checkpoint_<N>.pth"
            )


def _unzip(path: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(path) as opened:
            for member in opened.infolist():
                if Path(member.filename).is_absolute() or ".." in Path(member.filename).parts:
                    raise ModelMissing(f"{path}: holds a file outside its folder: {member.filename!r}")
            if sum(member.file_size for member in opened.infolist()) > MAX_UNZIPPED_BYTES:
                raise ModelMissing(f"{path}: unpacks to more than {MAX_UNZIPPED_BYTES >> 30} GB; this is not a voice archive")
            opened.extractall(target)
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise ModelMissing(f"{path}: can't be unpacked ({error}); pull it again") from error


def read_voice(files: VoiceFiles) -> VoiceArchive:
    """Read one voice. Raises `ModelMissing` naming the first file, key or shape that is wrong."""
    config = _yaml(files.am / "config.yaml")
    unit = _section(config, "linguistic_unit", files.am / "config.yaml")
    params = dict(_section(config, "Model.KanTtsSAMBERT.params", files.am / "config.yaml"))
    refuse_unspeakable(params, str(files.am / "config.yaml"))
    _check_unit(unit, files.am / "config.yaml")
    am_file, voc_file = newest_checkpoint(_checkpoints(files.am)), newest_checkpoint(_checkpoints(files.voc))
    state = _tensors(read_checkpoint(am_file)["model"], am_file)
    vocabulary = _vocabulary(files, unit)
    params.update(_table_rows(state, vocabulary, bool(params.get("SE")), am_file))
    acoustic = acoustic_dims(params, str(files.am / "config.yaml"))
    generator = _section(_yaml(files.voc / "config.yaml"), "Model.Generator.params", files.voc / "config.yaml")
    vocoder = vocoder_dims(generator, str(files.voc / "config.yaml"))
    model = read_checkpoint(voc_file)["model"]
    if not isinstance(model, Mapping) or "generator" not in model:
        raise ModelMissing(f"{voc_file}: holds no 'generator'")
    _check_pair(acoustic, vocoder, files)
    return VoiceArchive(
        files.name,
        acoustic,
        vocoder,
        vocabulary,
        _sample_rate(files, vocoder),
        state,
        _tensors(model["generator"], voc_file),
        am_file,
        voc_file,
        _array(files.am / "se.npy", acoustic.speaker_units) if acoustic.SE else None,
        _array(files.am / "mvn.npy", 2) if acoustic.NSF and acoustic.nsf_norm_type == "mean_std" else None,
    )


def _checkpoints(part: Path) -> Path:
    folder = part / "ckpt"
    if not folder.is_dir():
        _refuse_tensorflow(part)
        raise ModelMissing(f"{folder}: folder is missing")
    return folder


def _yaml(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ModelMissing(f"{path}: file is missing")
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelMissing(f"{path}: not valid YAML: {error}") from error
    if not isinstance(table, Mapping):
        raise ModelMissing(f"{path}: holds no table")
    return table


def _section(table: Mapping[str, Any], dotted: str, path: Path) -> Mapping[str, Any]:
    here: Any = table
    for key in dotted.split("."):
        if not isinstance(here, Mapping) or key not in here:
            raise ModelMissing(f"{path}: key {dotted!r} is missing")
        here = here[key]
    if not isinstance(here, Mapping):
        raise ModelMissing(f"{path}: {dotted!r} is not a table")
    return here


def _check_unit(unit: Mapping[str, Any], path: Path) -> None:
    features = [name.strip() for name in str(unit.get("lfeat_type_list", ",".join(FIELDS))).split(",")]
    if "byte_index" in features:
        raise ModelMissing(
            f"{path}: a byte model (lfeat_type_list holds byte_index); it reads raw bytes instead of symbols and is not supported"
        )
    if features != list(FIELDS):
        raise ModelMissing(f"{path}: lfeat_type_list is {','.join(features)}, expected {','.join(FIELDS)}")
    language = unit.get("language", LANGUAGE)
    if language != LANGUAGE:
        raise ModelMissing(f"{path}: language {language!r}: only {LANGUAGE} voices are supported")


def _vocabulary(files: VoiceFiles, unit: Mapping[str, Any]) -> Vocabulary:
    """Tables from `dict/*.txt` where they are (they win), else the built-in ones and `speaker_list`."""
    tables = dict(BUILT_IN)
    speakers = tuple(name.strip() for name in str(unit.get("speaker_list", "")).split(",") if name.strip())
    if speakers:
        tables["speaker_category"] = speakers
    for name, file in DICT_FILES.items():
        path = files.dicts / file if files.dicts is not None else None
        if path is None or not path.is_file():
            continue
        entries = read_dict_file(path.read_text(encoding="utf-8"))
        repeated = {entry for entry in entries if entries.count(entry) > 1}
        if repeated or not entries:
            raise ModelMissing(f"{path}: " + (f"entry {sorted(repeated)[0]!r} stands there twice" if repeated else "is empty"))
        tables[name] = entries
    if not tables.get("speaker_category"):
        raise ModelMissing(f"{files.am / 'config.yaml'}: neither speaker_list nor dict/{DICT_FILES['speaker_category']} names a speaker")
    return Vocabulary(tables)


# Embedding key, name among the dims, name of the field.
_TABLE_KEYS = (
    ("text_encoder.sy_emb.weight", "sy", "sy"),
    ("text_encoder.tone_emb.weight", "tone", "tone"),
    ("text_encoder.syllable_flag_emb.weight", "syllable_flag", "syllable_flag"),
    ("text_encoder.ws_emb.weight", "word_segment", "word_segment"),
    ("emo_tokenizer.weight", "emotion", "emo_category"),
    ("spk_tokenizer.weight", "speaker", "speaker_category"),
)


def _table_rows(state: Mapping[str, Any], vocabulary: Vocabulary, is_se: bool, path: Path) -> dict[str, int]:
    rows, fields = {}, {}
    for key, dim, name in _TABLE_KEYS:
        if dim == "speaker" and is_se:
            rows[dim] = len(vocabulary.tables[name]) + 3
            continue
        if key not in state:
            raise ModelMissing(f"{path}: key {key!r} is missing")
        rows[dim] = fields[name] = int(state[key].shape[0])
    vocabulary.check_rows(fields, str(path))
    return rows


def _tensors(state: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(state, Mapping) or not state or not all(hasattr(value, "shape") for value in state.values()):
        raise ModelMissing(f"{path}: the state in it is not a table of tensors")
    return state


def _check_pair(acoustic: AcousticDims, vocoder: VocoderDims, files: VoiceFiles) -> None:
    where = f"{files.voc / 'config.yaml'}"
    if vocoder.in_channels != acoustic.mel_bands:
        raise ModelMissing(f"{where}: in_channels {vocoder.in_channels}, but the acoustic model makes {acoustic.mel_bands} mel bands")
    if vocoder.is_nsf and not acoustic.NSF:
        raise ModelMissing(f"{where}: the generator wants F0 (nsf_params), but the acoustic model makes none (NSF is not set)")


def _sample_rate(files: VoiceFiles, vocoder: VocoderDims) -> int:
    """From audio_config.yaml, else configuration.json, else 16000; the hop must be the generator's."""
    if files.audio is not None:
        audio = _section(_yaml(files.audio), "audio_config", files.audio)
        hop = audio.get("hop_length", vocoder.hop)
        if hop != vocoder.hop:
            raise ModelMissing(f"{files.audio}: hop_length {hop}, but the generator makes {vocoder.hop} samples per frame")
        if "sampling_rate" in audio:
            return int(audio["sampling_rate"])
    path = files.archive / "configuration.json"
    if path.is_file():
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            return int(table.get("model", {}).get("sample_rate") or table.get("sample_rate") or 16000)
        except (ValueError, AttributeError, TypeError) as error:
            raise ModelMissing(f"{path}: not a readable configuration ({error})") from error
    return 16000


def _array(path: Path, size: int) -> npt.NDArray[np.float32]:
    if not path.is_file():
        raise ModelMissing(f"{path}: file is missing")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ModelMissing(f"{path}: not a readable array ({error})") from error
    if array.size != size:
        raise ModelMissing(f"{path}: shape {list(array.shape)}, expected {size} values")
    return np.asarray(array, np.float32).reshape(-1)


def pair(am: Path, voc: Path, name: str) -> VoiceFiles:
    """A voice from two folders given one by one (fine-tuned models). Raises `BadOption` when one is no folder."""
    for path in (am, voc):
        if not path.is_dir():
            raise BadOption(f"{path}: no such folder")
    return VoiceFiles(name, am, voc, _first(am.parent / "audio_config.yaml"), _first(am.parent / "dict"), am.parent)
