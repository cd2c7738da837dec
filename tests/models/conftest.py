"""A model hub on loopback that speaks ModelScope's and Hugging Face's API, and can be told to misbehave."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse

import pytest

REVISION = "0123abcd" * 5


@dataclass
class FakeHub:
    """Files by path. `cut`: how often each file's connection breaks half-way; `corrupt`: how often its bytes are wrong."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut: Counter[str] = field(default_factory=Counter)
    corrupt: Counter[str] = field(default_factory=Counter)
    status: dict[str, int] = field(default_factory=dict)
    has_ranges: bool = True
    licence: str = "Apache License 2.0"
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    tokens: list[tuple[str, str | None]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bytes_of(self, path: str) -> bytes:
        data = self.files[path]
        if self.corrupt[path] > 0:
            self.corrupt[path] -= 1
            return bytes([data[0] ^ 1]) + data[1:]
        return data


class Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlparse(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        parts = unquote(url.path).strip("/").split("/")
        self.hub.requests.append((self.path, self.headers.get("Range")))
        self.hub.tokens.append((str(self.headers.get("Host")).split(":")[0], self.headers.get("Authorization")))
        if parts[:3] == ["api", "v1", "models"]:
            self._modelscope(parts[3:], query)
        elif parts[:2] == ["api", "models"]:
            self._json({"id": "/".join(parts[2:4]), "sha": REVISION, "siblings": self._siblings(), "cardData": {"license": "mit"}})
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[4:]))
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def _modelscope(self, parts: list[str], query: dict[str, str]) -> None:
        if parts[:2] != ["owner", "voice"]:
            self._json({"Code": 404, "Success": False, "Message": "model not found"})
        elif len(parts) == 2:
            self._json({"Code": 200, "Success": True, "Data": {"License": self.hub.licence}})
        elif parts[2:] == ["repo", "files"]:
            listed = [
                {"Path": path, "Name": path, "Type": "blob", "Size": len(data), "Sha256": hashlib.sha256(data).hexdigest()}
                for path, data in self.hub.files.items()
            ]
            self._json({"Code": 200, "Success": True, "Data": {"Files": [*listed, {"Path": "voices", "Type": "tree", "Size": 0}]}})
        else:
            self._file(query["FilePath"])

    def _siblings(self) -> list[dict[str, object]]:
        out: list[dict[str, object]] = []
        for path, data in self.hub.files.items():
            one: dict[str, object] = {"rfilename": path, "size": len(data)}
            if path.endswith(".pth"):
                one["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            one["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            out.append(one)
        return out

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, path: str) -> None:
        if path in self.hub.status:
            self.send_error(self.hub.status[path])
            return
        if path in self.hub.redirects and "FilePath" in self.path:
            self.send_response(302)
            self.send_header("Location", self.hub.redirects[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data, start = self.hub.bytes_of(path), 0
        wanted = self.headers.get("Range")
        if wanted and self.hub.has_ranges:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        body = data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.hub.cut[path] > 0:
            self.hub.cut[path] -= 1
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    fake = FakeHub(files={"configuration.json": b'{"a": 1}\n', "voices/v/am/ckpt/checkpoint_0.pth": bytes(range(256)) * 4096})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": fake}))
    fake.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    thread.join(timeout=5)


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"
