"""`realtime voices`: enrol a voice from a clip, list voices, remove one.

A running service takes up the change when it is told to (`POST /v1/voices/reload`) or restarted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from realtime.config import load
from realtime.errors import BadOption, ModelMissing, RealtimeError, not_installed

BACKEND = "realtime.engines.indextts2.voices"
STEPS = 6
"""Steps that enrolling reports."""
CONSENT = (
    "A voice is personal data. Enrol it only if it is yours, or if the person agreed to have it cloned for this use.\n"
    "You answer for what is said with it; impersonating somebody is forbidden by the model's licence and by law in many places."
)


def main(argv: Sequence[str]) -> int:
    """Run one command -> exit code: 0 done, 1 could not be done (the reason is on stderr), 2 bad arguments."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except RealtimeError as error:
        print(f"realtime voices: {error.message}", file=sys.stderr)
    except OSError as error:  # a folder that is a file, no permission, a full disk
        print(f"realtime voices: {error.filename or 'files'}: {error.strerror or error}", file=sys.stderr)
    return 1


def parser() -> argparse.ArgumentParser:
    """All options."""
    top = argparse.ArgumentParser(prog="realtime voices", description="Cloned voices (IndexTTS-2) on this machine.")
    top.add_argument("--config", type=Path, default=None, metavar="FILE", help="settings; the data directory is taken from there")
    top.add_argument("--dir", type=Path, default=None, metavar="DIR", help="voices folder (default: `voices` in the data directory)")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_options(commands.add_parser("add", help="enrol a voice from a clip of 3 to 15 s", description=CONSENT))
    listing = commands.add_parser("list", help="show enrolled voices")
    listing.add_argument("--json", action="store_true", help="one JSON object as the last line")
    listing.set_defaults(command=_list)
    remove = commands.add_parser("remove", help="delete an enrolled voice")
    remove.add_argument("name")
    remove.set_defaults(command=_remove)
    return top


def _add_options(add: argparse.ArgumentParser) -> None:
    add.add_argument("name", help="the voice's name in requests: letters, digits, - and _")
    add.add_argument("clip", type=Path, help="WAV, FLAC, Ogg or MP3; one person, little noise; only the first 15 s are used")
    add.add_argument("--emotion", action="append", default=[], metavar="[NAME=]CLIP", help="a clip to take an emotion from (repeatable)")
    add.add_argument(
        "--emotion-vector",
        action="append",
        default=[],
        metavar="[NAME=]W,W,W,W,W,W,W,W",
        help="an emotion as weights from 0 to 1: happy, angry, sad, afraid, disgusted, melancholic, surprised, calm (repeatable)",
    )
    add.add_argument(
        "--prompt-s",
        type=float,
        default=3.0,
        metavar="S",
        help="seconds of the clip that the flow decoder sees each time (default 3, at most 15); each costs there as much as a second of "
        "speech: 3 s on a 5 s sentence is 60 %% more, and 150 %% more on a chunk of 2 s",
    )
    add.add_argument("--language", action="append", default=[], choices=("zh", "en"), help="what it speaks (default: both)")
    add.add_argument("--gender", default=None, choices=("female", "male", "other"))
    add.add_argument("--description", default="")
    add.add_argument(
        "--stand-in", action="append", default=[], metavar="ENGINE=VOICE", help="who takes over there at a handover (repeatable)"
    )
    add.add_argument("--model", default="", metavar="NAME", help="exported model to enrol for, if there are several")
    add.add_argument("--checkpoint", action="append", type=Path, default=[], metavar="DIR", help="folder(s) of the published weights")
    add.add_argument("--i-have-consent", action="store_true", help="confirm without being asked that the speaker agreed")
    add.add_argument("--json", action="store_true", help="one JSON object as the last line")
    add.set_defaults(command=_add)


def _add(arguments: argparse.Namespace) -> int:
    backend = importlib.import_module(BACKEND)
    data_dir = load(arguments.config).server.data_dir
    request = backend.Request(
        name=arguments.name,
        clip=arguments.clip,
        emotions={name: Path(value) for name, value in _named(arguments.emotion, lambda value: Path(value).stem)},
        weights=dict(_named(arguments.emotion_vector, lambda value: "custom")),
        languages=tuple(dict.fromkeys(arguments.language)) or ("zh", "en"),
        gender=arguments.gender,
        description=arguments.description,
        stand_ins=dict(_pair(text) for text in arguments.stand_in),
        prompt_s=arguments.prompt_s,
        consent=_consent(arguments.i_have_consent),
        checkpoint=tuple(arguments.checkpoint),
    )
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(arguments.name, total=STEPS + 1)

        def report(step: str) -> None:
            progress.update(task, advance=1, description=f"{arguments.name}: {step}")

        try:
            made = backend.add(request, data_dir / "models" / "indextts2", _folder(arguments), arguments.model, report)
        except ModuleNotFoundError as error:
            raise ModelMissing(not_installed(error)) from None
    for notice in made["notices"]:
        print(f"note: {notice}", file=sys.stderr)
    print(f"{made['path']}: {made['size_mb']} MB, prompt {made['prompt_s']} s, emotions {', '.join(made['emotions'])}")
    print("a running service takes it up after POST /v1/voices/reload", file=sys.stderr)
    if arguments.json:
        print(json.dumps(made, ensure_ascii=False))
    return 0


def _list(arguments: argparse.Namespace) -> int:
    folder = _folder(arguments)
    rows: list[dict[str, Any]] = importlib.import_module(BACKEND).listed(folder)
    for row in rows:
        said = row.get("error") or (
            f"{','.join(row['languages'])}  prompt {row['prompt_s']} s  {row['size_mb']} MB  emotions {', '.join(row['emotions'])}"
        )
        print(f"{row['name']:24s} {said}")
    if not rows:
        print(f"no enrolled voices in {folder}; `realtime voices add NAME CLIP` makes one")
    if arguments.json:
        print(json.dumps({"dir": str(folder), "voices": rows}, ensure_ascii=False))
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    importlib.import_module(BACKEND).remove(arguments.name, _folder(arguments))
    print(f"removed {arguments.name}")
    return 0


def _folder(arguments: argparse.Namespace) -> Path:
    folder: Path = arguments.dir or load(arguments.config).server.data_dir / "voices"
    return folder


def _consent(is_given: bool) -> str:
    """What is recorded in the pack. Raises `BadOption` if nobody confirms."""
    if not is_given:
        print(CONSENT, file=sys.stderr)
        if not sys.stdin.isatty():
            raise BadOption("nobody confirmed that the speaker agreed; run again with --i-have-consent")
        if input("Does the speaker agree? [y/N] ").strip().lower() not in ("y", "yes"):
            raise BadOption("the speaker does not agree; nothing was made")
    return "the enroller confirmed that the speaker agreed"


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name or not value:
        raise BadOption(f"expected ENGINE=VOICE, not {text!r}")
    return name, value


def _named(texts: Sequence[str], default: Any) -> list[tuple[str, str]]:
    """NAME=VALUE or VALUE with a name made from it. Raises `BadOption` if a name comes twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        name, value = (name, value) if sign else (default(text), text)
        if name in found:
            raise BadOption(f"two emotions are called {name!r}; give them names: NAME={value}")
        found[name] = value
    return list(found.items())
