"""Download the files of a repository: resumed where it stopped, each checked against the hub's checksum, with a progress bar.

A file is written beside its place as `.part` and moved there only when its size and checksum are right, so a snapshot folder never
holds a file that is cut or wrong. A cut connection is taken up again at the byte where it broke, here and in a later run.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from realtime.errors import ModelMissing
from realtime.models.hubs import TIMEOUT_S, Hub, RemoteFile

BLOCK = 1 << 18
ATTEMPTS = 5
"""Tries per file without a byte of progress before giving up; huggingface_hub's default is 5 as well."""
BACKOFF_S = 0.5
BAD_CHECKSUMS = 2
"""A file that arrives whole but wrong is fetched once more, then reported."""

Progress = Callable[[int], None]


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Keeps a token at home: hubs send large files on to storage hosts, which refuse strange credentials and have no right to them."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """See the base class; without `Authorization` when the host changes."""
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and request.host != req.host:
            request.remove_header("Authorization")
        return request


OPENER = urllib.request.build_opener(_Redirects)


def wanted_files(files: Iterable[RemoteFile], patterns: tuple[str, ...]) -> list[RemoteFile]:
    """Those that match one of the shell patterns (all if there are none). Raises `ModelMissing` for paths that would leave the folder."""
    chosen = [one for one in files if not patterns or any(fnmatch.fnmatch(one.path, pattern) for pattern in patterns)]
    for one in chosen:
        if Path(one.path).is_absolute() or ".." in Path(one.path).parts:
            raise ModelMissing(f"the hub lists a file outside its repository: {one.path!r}; nothing was downloaded")
    return chosen


def check_room(root: Path, files: Iterable[tuple[Path, RemoteFile]]) -> None:
    """Raise `ModelMissing` if the disk lacks room for what is not there yet of `files` (folder and file)."""
    missing = 0
    for folder, file in files:
        target = folder / file.path
        have = max((path.stat().st_size for path in (target, part_of(target)) if path.is_file()), default=0)
        missing += max(0, file.size - have)
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if free < missing:
        raise ModelMissing(
            f"{root}: the download takes {missing / 1e9:.1f} GB, {free / 1e9:.1f} GB are free there; --dir takes another place"
        )


def part_of(target: Path) -> Path:
    """Where a file lies while it is downloaded."""
    return target.with_name(target.name + ".part")


def download(
    hub: Hub, file: RemoteFile, folder: Path, progress: Progress = lambda count: None, wait: Callable[[float], None] = time.sleep
) -> Path:
    """Fetch one file into `folder`; at once if it is there already and right. `progress` gets bytes, negative when some are discarded.

    Raises `ModelMissing` when the hub can't be reached, refuses, or sends something that does not match its own checksum.
    """
    target = folder / file.path
    if target.is_file() and not fault(target, file):
        progress(target.stat().st_size)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target)
    if part.is_file():
        progress(part.stat().st_size)
    for _ in range(BAD_CHECKSUMS):
        _fetch(hub, file, part, progress, wait)
        wrong = fault(part, file)
        if not wrong:
            os.replace(part, target)
            return target
        progress(-part.stat().st_size)
        part.unlink()
    raise ModelMissing(f"{file.url}: {wrong}, {BAD_CHECKSUMS} times over; the hub or a mirror between is damaged, nothing was kept")


def fault(path: Path, file: RemoteFile) -> str | None:
    """What is wrong with a downloaded file, None if nothing (as far as the hub states a checksum)."""
    size = path.stat().st_size
    if file.size and size != file.size:
        return f"{size} bytes instead of {file.size}"
    wanted = file.sha256 or file.git_sha1
    if wanted is None:
        return None
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as opened:
        while block := opened.read(BLOCK):
            digest.update(block)
    return None if digest.hexdigest() == wanted.lower() else "checksum does not match"


def _fetch(hub: Hub, file: RemoteFile, part: Path, progress: Progress, wait: Callable[[float], None]) -> None:
    """Until the file is whole; each try goes on where the last one stopped."""
    stuck = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        if file.size and before >= file.size:
            return
        try:
            _fetch_once(hub, file, part, before, progress)
            if not file.size or part.stat().st_size >= file.size:
                return
            error: Exception = ConnectionError(f"the connection ended after {part.stat().st_size} of {file.size} bytes")
        except urllib.error.HTTPError as refused:
            refused.close()
            if refused.code < 500 and refused.code not in (408, 429):
                raise ModelMissing(f"{file.url}: the hub answers {refused.code} {refused.reason}") from refused
            error = refused
        except (urllib.error.URLError, http.client.HTTPException, OSError) as broken:
            if isinstance(broken, OSError) and broken.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ModelMissing(f"{part}: the disk is full; what came is kept: free space, run the same command to go on") from broken
            error = broken
        stuck = 0 if part.is_file() and part.stat().st_size > before else stuck + 1
        if stuck >= ATTEMPTS:
            raise ModelMissing(f"{file.url}: {error}; {before} bytes are kept, run the same command to go on") from error
        wait(BACKOFF_S * 2**stuck)


def _fetch_once(hub: Hub, file: RemoteFile, part: Path, offset: int, progress: Progress) -> None:
    headers = {**hub.headers(), "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    with OPENER.open(urllib.request.Request(file.url, headers=headers), timeout=TIMEOUT_S) as reply:
        if offset and reply.status != 206:
            # The server does not resume: start over with what it sends.
            progress(-offset)
            offset = 0
        with part.open("ab" if offset else "wb") as out:
            while block := reply.read(BLOCK):
                out.write(block)
                progress(len(block))
