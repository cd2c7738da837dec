"""Two model hubs behind one face: which files a repository has at a revision, and the address of each.

Hugging Face through its own client library; ModelScope through its HTTP API (`/api/v1/models/...`; the paths are those that its published
client uses). Both take a mirror's address in place of the hub's.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any, Protocol

from realtime.errors import BadOption, ModelMissing

TIMEOUT_S = 30.0
"""For one request, and for a download that stands still. Precedent: pip waits 15 s, huggingface_hub 10 s; mirrors are slower."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository; checksums where the hub states them (git's own hash covers small files of Hugging Face)."""

    path: str
    size: int
    url: str
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True)
class RemoteRepo:
    """A repository at one revision."""

    revision: str
    licence: str
    files: tuple[RemoteFile, ...]
    page: str


class Hub(Protocol):
    """A place to pull from."""

    name: str

    def describe(self, repo: str, revision: str) -> RemoteRepo:
        """What is in `repo` at `revision` ("" = the hub's default).

        Raises `ModelMissing` when there is none or the hub can't be reached.
        """
        ...

    def headers(self) -> dict[str, str]:
        """Sent with each download."""
        ...


class HuggingFace:
    """huggingface.co or a mirror that speaks its API."""

    name = "huggingface"

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = (endpoint or "https://huggingface.co").rstrip("/")

    def describe(self, repo: str, revision: str) -> RemoteRepo:
        """See `Hub`."""
        from huggingface_hub import HfApi, hf_hub_url

        errors: tuple[type[Exception], ...] = (*_transport_errors(), ValueError, OSError)
        try:
            info = HfApi(endpoint=self._endpoint).model_info(repo, revision=revision or None, files_metadata=True, timeout=TIMEOUT_S)
        except errors as error:
            raise ModelMissing(f"{self._endpoint}: can't read {repo}: {_first_line(error)}") from error
        commit = info.sha or revision or "main"
        files = tuple(
            RemoteFile(
                one.rfilename,
                int(one.size or 0),
                hf_hub_url(repo, one.rfilename, revision=commit, endpoint=self._endpoint),
                one.lfs.sha256 if one.lfs else None,
                None if one.lfs else one.blob_id,
            )
            for one in info.siblings or []
        )
        card = info.card_data
        licence = str(card.get("license_name") or card.get("license") or "not stated") if card else "not stated"
        return RemoteRepo(commit, licence, files, f"{self._endpoint}/{repo}")

    def headers(self) -> dict[str, str]:
        """The token of `hf auth login`, for repositories that ask for one."""
        from huggingface_hub import get_token

        token = get_token()
        return {"Authorization": f"Bearer {token}"} if token else {}


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the client library and its transport raise; the transport is httpx in its version 1, httpx2 in its version 2."""
    from huggingface_hub.errors import HfHubHTTPError

    transports = [importlib.import_module(name) for name in ("httpx", "httpx2") if importlib.util.find_spec(name)]
    return (HfHubHTTPError, *(transport.HTTPError for transport in transports))


class ModelScope:
    """modelscope.cn or a mirror that speaks its API."""

    name = "modelscope"

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = (endpoint or "https://www.modelscope.cn").rstrip("/")

    def describe(self, repo: str, revision: str) -> RemoteRepo:
        """See `Hub`."""
        base = f"{self._endpoint}/api/v1/models/{urllib.parse.quote(repo)}"
        about = self._get(base)
        wanted = revision or "master"
        query = urllib.parse.urlencode({"Revision": wanted, "Recursive": "true"})
        listed = self._get(f"{base}/repo/files?{query}").get("Files") or []
        files = tuple(self._file(base, wanted, one) for one in listed if one.get("Type") != "tree")
        if not files:
            raise ModelMissing(f"{self._endpoint}: {repo} has no files at revision {wanted!r}")
        return RemoteRepo(wanted, str(about.get("License") or "not stated"), files, f"{self._endpoint}/models/{repo}")

    def headers(self) -> dict[str, str]:
        """None: the voices are public."""
        return {}

    @staticmethod
    def _file(base: str, revision: str, one: dict[str, Any]) -> RemoteFile:
        path = str(one["Path"])
        query = urllib.parse.urlencode({"Revision": revision, "FilePath": path})
        return RemoteFile(path, int(one.get("Size") or 0), f"{base}/repo?{query}", one.get("Sha256") or None)

    def _get(self, url: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(urllib.request.Request(url), timeout=TIMEOUT_S) as reply:
                body = json.load(reply)
        except (urllib.error.URLError, OSError, ValueError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            raise ModelMissing(f"{url}: {_first_line(error)}") from error
        if not isinstance(body, dict) or not body.get("Success", body.get("Code") == 200):
            raise ModelMissing(f"{url}: the hub refused: {body.get('Message') if isinstance(body, dict) else body}")
        data = body.get("Data")
        return data if isinstance(data, dict) else {}


HUBS: dict[str, type[HuggingFace] | type[ModelScope]] = {"modelscope": ModelScope, "huggingface": HuggingFace}


def open_hub(name: str, endpoint: str | None = None) -> Hub:
    """Raises `BadOption` for an unknown hub or an address that is not http(s)."""
    if name not in HUBS:
        raise BadOption(f"unknown hub {name!r}; there are: {', '.join(HUBS)}")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise BadOption(f"a hub's address starts with http:// or https://, not {endpoint!r}")
    return HUBS[name](endpoint)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
