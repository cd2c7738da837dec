"""`realtime models`: pull, export, verify, list, parity."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from realtime.config import load
from realtime.errors import BadOption, ModelMissing, RealtimeError
from realtime.models import engines, manifest
from realtime.models.hubs import HUBS, Hub, RemoteFile, RemoteRepo, open_hub
from realtime.models.pull import check_room, download, wanted_files
from realtime.models.store import Store

Count = Callable[[int], None]


def main(argv: Sequence[str]) -> int:
    """Run one command -> exit code: 0 done, 1 could not be done (the reason is on stderr), 2 bad arguments."""
    arguments = parser().parse_args(argv)
    try:
        command: Callable[[argparse.Namespace], int] = arguments.command
        return command(arguments)
    except RealtimeError as error:
        print(f"realtime models: {error.message}", file=sys.stderr)
    except OSError as error:  # a folder that is a file, no permission, a full disk
        print(f"realtime models: {error.filename or 'files'}: {error.strerror or error}", file=sys.stderr)
    return 1


def parser() -> argparse.ArgumentParser:
    """All options."""
    top = argparse.ArgumentParser(prog="realtime models", description="Model files on this machine.")
    top.add_argument("--config", type=Path, default=None, metavar="FILE", help="settings; the data directory is taken from there")
    top.add_argument("--dir", type=Path, default=None, metavar="DIR", help="models folder (default: `models` in the data directory)")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    names = ", ".join(engines.HOOKS)
    pull = commands.add_parser(
        "pull", help="download a published model and export it", description="Download a published model and export it."
    )
    pull.add_argument("engine", help=names)
    pull.add_argument("name", nargs="?", help="which model; without it, the first of `realtime models list --published`")
    pull.add_argument("--hub", choices=sorted(HUBS), default=None, help="take it from this hub instead of the usual one")
    pull.add_argument("--endpoint", default=None, metavar="URL", help="a mirror's address in place of the hub's")
    pull.add_argument("--revision", default=None, help="branch, tag or commit (default: the pinned one, else the hub's default)")
    pull.add_argument("--accept-licence", action="store_true", help="accept the licence without being asked")
    pull.add_argument("--no-export", action="store_true", help="download only")
    pull.set_defaults(command=_pull)
    export = commands.add_parser("export", help="turn downloaded files into what the engine loads")
    export.add_argument("engine", help=names)
    export.add_argument("snapshot", type=Path, nargs="+", help="folder(s) with the published files")
    export.add_argument("--name", default=None, help="export only this voice or under this name")
    export.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="engine's own export option (repeatable)")
    export.set_defaults(command=_export)
    verify = commands.add_parser("verify", help="compare every file with its checksum")
    verify.add_argument("engine", nargs="?", help=names)
    verify.add_argument("name", nargs="?")
    verify.set_defaults(command=_verify)
    listing = commands.add_parser("list", help="show models on this machine")
    listing.add_argument("engine", nargs="?", help=names)
    listing.add_argument("--published", action="store_true", help="show what can be pulled instead")
    listing.add_argument("--json", action="store_true", help="one JSON object as the last line")
    listing.set_defaults(command=_list)
    parity = commands.add_parser("parity", help="compare the modules with reference outputs, stage by stage")
    parity.add_argument("engine", help=names)
    parity.add_argument("folder", type=Path, metavar="DIR")
    parity.set_defaults(command=lambda arguments: engines.parity(arguments.engine, arguments.folder))
    for command in (pull, export, verify, listing):
        # Taken behind the command too; SUPPRESS keeps what stood before it.
        command.add_argument("--config", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        command.add_argument("--dir", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return top


def store_of(arguments: argparse.Namespace) -> Store:
    """The models folder that the arguments or the settings name."""
    return Store(arguments.dir or load(arguments.config).server.data_dir / "models")


# --- pull ---


def _pull(arguments: argparse.Namespace) -> int:
    store = store_of(arguments)
    model = _published(arguments.engine, arguments.name)
    found: list[Found] = []
    for wanted in model.repos:  # all questions before the first of many gigabytes
        hub = open_hub(arguments.hub or wanted.hub, arguments.endpoint)
        remote = hub.describe(wanted.repo, arguments.revision or wanted.revision)
        _agree(store, f"{hub.name}:{wanted.repo}", remote, arguments.accept_licence)
        files = wanted_files(remote.files, wanted.patterns)
        found.append(Found(wanted.repo, hub, remote, files, store.snapshot(hub.name, wanted.repo, remote.revision)))
    check_room(store.root, [(one.folder, file) for one in found for file in one.files])
    for one in found:
        size = sum(f.size for f in one.files)
        print(f"{one.repo} at {one.remote.revision} from {one.hub.name}: {len(one.files)} files, {size / 1e6:.1f} MB")
        with _bar(one.repo, size) as count:
            for file in one.files:
                download(one.hub, file, one.folder, count)
    snapshots = {one.repo: one.folder for one in found}
    print("downloaded to " + ", ".join(str(folder) for folder in snapshots.values()))
    if arguments.no_export:
        return 0
    options = {"name": arguments.name and arguments.name.split("/")[-1], "licence": _licences(found)}
    for made in engines.export(arguments.engine, snapshots, store.root / arguments.engine, options):
        print(f"exported {made}")
    return 0


@dataclass(frozen=True, slots=True)
class Found:
    """A repository to be downloaded: what the hub says of it, the files wanted, and where they go."""

    repo: str
    hub: Hub
    remote: RemoteRepo
    files: list[RemoteFile]
    folder: Path


def _licences(found: Sequence[Found]) -> str:
    """What the hub states, for the manifest: one licence as it is, several by repository."""
    if len(found) == 1:
        return found[0].remote.licence
    return "; ".join(f"{one.repo}: {one.remote.licence}" for one in found)


def _published(engine: str, name: str | None) -> engines.Published:
    known = engines.published(engine)
    if name is None:
        return known[0]
    for one in known:
        if name == one.name:
            return one
    if "/" in name:
        # A repository that the table does not list: same layout, other voice.
        hub = known[0].repos[0].hub
        return engines.Published(name, (engines.Repo(hub, name, "", known[0].repos[0].patterns),))
    raise BadOption(f"{engine} has no published model {name!r}; there are: {', '.join(one.name for one in known)} (or owner/repository)")


def _agree(store: Store, key: str, remote: RemoteRepo, is_accepted: bool) -> None:
    """Show the licence once per repository. Raises `ModelMissing` when it is not accepted."""
    if store.accepted().get(key) == remote.licence:
        return
    print(f"{key}\n  licence: {remote.licence}\n  terms:   {remote.page}")
    if not is_accepted:
        if not sys.stdin.isatty():
            raise ModelMissing("the licence was not accepted; read it and run again with --accept-licence")
        if input("Accept it? [y/N] ").strip().lower() not in ("y", "yes"):
            raise ModelMissing("the licence was not accepted; nothing was downloaded")
    store.accept(key, remote.licence)


@contextmanager
def _bar(title: str, total: int) -> Iterator[Count]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(title, total=total or None)
        yield lambda count: progress.update(task, advance=count)


# --- export, verify, list ---


def _export(arguments: argparse.Namespace) -> int:
    options: dict[str, object] = {"name": arguments.name}
    for pair in arguments.option:
        key, sign, value = pair.partition("=")
        if not sign:
            raise BadOption(f"--option takes KEY=VALUE, not {pair!r}")
        options[key] = value
    for folder in arguments.snapshot:
        if not folder.is_dir():
            raise ModelMissing(f"{folder}: no such folder")
    snapshots = {str(folder): folder for folder in arguments.snapshot}
    for made in engines.export(arguments.engine, snapshots, store_of(arguments).root / arguments.engine, options):
        print(f"exported {made}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    store = store_of(arguments)
    if arguments.engine:
        engines.engine_hooks(arguments.engine)
    folders = [store.model(arguments.engine, arguments.name)] if arguments.name else store.models(arguments.engine)
    if not folders:
        print(f"no models in {store.root}")
        return 1
    failed = 0
    for folder in folders:
        total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
        with _bar(folder.name, total) as count:
            wrong = manifest.problems(folder, count)
        failed += bool(wrong)
        print(f"{folder}: " + ("ok" if not wrong else "; ".join(wrong)))
    return 1 if failed else 0


def _list(arguments: argparse.Namespace) -> int:
    if arguments.published:
        return _list_published(arguments.engine, arguments.json)
    if arguments.engine:
        engines.engine_hooks(arguments.engine)
    store, rows = store_of(arguments), []
    for folder in store.models(arguments.engine):
        try:
            one = manifest.read(folder)
            size = sum(record.bytes for record in one.files.values())
            rows.append(
                {"engine": one.engine, "name": one.name, "revision": one.revision, "sample_rate": one.sample_rate, "size_mb": size / 1e6}
            )
        except ModelMissing as error:
            rows.append({"engine": folder.parent.name, "name": folder.name, "error": error.message})
    for row in rows:
        said = row["error"] if "error" in row else f"{row['sample_rate']} Hz  {row['size_mb']:.1f} MB  {row['revision']}"
        print(f"{row['engine']:10s} {row['name']:24s} {said}")
    if not rows:
        print(f"no models in {store.root}; get one with `realtime models pull {arguments.engine or 'sambert'}`")
    if arguments.json:
        print(json.dumps({"dir": str(store.root), "models": rows}, ensure_ascii=False))
    return 0


def _list_published(only: str | None, as_json: bool) -> int:
    rows = []
    for engine in [only] if only else list(engines.HOOKS):
        try:
            known = engines.published(engine)
        except ModuleNotFoundError:
            continue
        rows += [
            {"engine": engine, "name": one.name, "repos": [f"{r.hub}:{r.repo}" for r in one.repos], "description": one.description}
            for one in known
        ]
    for row in rows:
        print(f"{row['engine']:10s} {row['name']:24s} {', '.join(row['repos'])}  {row['description']}")
    if as_json:
        print(json.dumps({"published": rows}, ensure_ascii=False))
    return 0
