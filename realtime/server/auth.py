"""Who may speak: API keys, short-lived tokens for browsers, and the origin of an upgrade.

Keys are 32 random bytes, so a plain SHA-256 at rest can't be searched; comparison takes constant time. A token is
`expiry.key_id.signature`, signed by HMAC-SHA-256 with a secret that lives beside the keys.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, QueryParams

from realtime.clock import wall_time
from realtime.errors import BadOption, Unauthorized

KEY_PREFIX = "rt_"
# Long enough to open a page's connection and reconnect, short enough to be worthless when leaked (precedent: 15 minutes at
# ElevenLabs' single-use tokens).
TOKEN_S = 900
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as it is stored: never the key itself. `created` in seconds since the epoch."""

    id: str
    name: str
    digest: str
    created: float
    is_revoked: bool = False


class KeyStore:
    """Keys in one JSON file, readable by its owner only."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "keys.json"
        self._secret_path = folder / "token_secret"
        self._records = self._load()
        self._read_at = self._modified()

    def __len__(self) -> int:
        return sum(not record.is_revoked for record in self._records.values())

    def records(self) -> tuple[KeyRecord, ...]:
        """All keys ever made, oldest first."""
        return tuple(sorted(self._records.values(), key=lambda record: record.created))

    def add(self, name: str) -> str:
        """Make a key; the returned text is shown once and can't be had again."""
        key = KEY_PREFIX + secrets.token_urlsafe(32)
        record = KeyRecord(secrets.token_hex(4), name, _digest(key), wall_time())
        self._records[record.id] = record
        self._save()
        return key

    def revoke(self, key_id: str) -> None:
        """Let a key open nothing from now on. Raises `BadOption` for an unknown id."""
        record = self._records.get(key_id)
        if record is None:
            raise BadOption(f"no key {key_id!r}; `realtime keys list` shows them")
        self._records[key_id] = KeyRecord(record.id, record.name, record.digest, record.created, is_revoked=True)
        self._save()

    def check(self, key: str) -> str:
        """The id of a valid key. Raises `Unauthorized`."""
        self._refresh()
        digest = _digest(key)
        found = ""
        for record in self._records.values():
            if hmac.compare_digest(record.digest, digest) and not record.is_revoked:
                found = record.id
        if not found:
            raise Unauthorized("the API key is unknown or revoked")
        return found

    def issue_token(self, key_id: str, now: float | None = None) -> tuple[str, int]:
        """A token that stands for the key for `TOKEN_S` seconds."""
        expiry = int((wall_time() if now is None else now) + TOKEN_S)
        payload = f"{expiry}.{key_id}"
        return f"{payload}.{self._sign(payload)}", TOKEN_S

    def check_token(self, token: str, now: float | None = None) -> str:
        """The key id behind a token. Raises `Unauthorized` when it is forged, expired, or its key was revoked."""
        self._refresh()
        payload, _, signature = token.rpartition(".")
        expiry, _, key_id = payload.partition(".")
        if not hmac.compare_digest(signature, self._sign(payload)) or not expiry.isdigit():
            raise Unauthorized("the token is not one of this service's")
        if int(expiry) < (wall_time() if now is None else now):
            raise Unauthorized("the token has expired; ask POST /v1/tokens for a new one")
        record = self._records.get(key_id)
        if key_id and (record is None or record.is_revoked):
            raise Unauthorized("the key behind the token was revoked")
        return key_id

    def _sign(self, payload: str) -> str:
        return hmac.new(self._secret(), payload.encode(), hashlib.sha256).hexdigest()

    def _secret(self) -> bytes:
        if not self._secret_path.exists():
            _write_private(self._secret_path, secrets.token_hex(32))
        return bytes.fromhex(self._secret_path.read_text(encoding="ascii"))

    def _refresh(self) -> None:
        if self._modified() != self._read_at:
            self._records, self._read_at = self._load(), self._modified()

    def _modified(self) -> float:
        return self._path.stat().st_mtime if self._path.exists() else 0.0

    def _load(self) -> dict[str, KeyRecord]:
        if not self._path.exists():
            return {}
        try:
            return {entry["id"]: KeyRecord(**entry) for entry in json.loads(self._path.read_text(encoding="utf-8"))}
        except (ValueError, TypeError, KeyError) as error:
            raise BadOption(f"{self._path} is damaged ({error}); restore it or remove it and add the keys again") from None

    def _save(self) -> None:
        _write_private(self._path, json.dumps([asdict(record) for record in self._records.values()], indent=1))
        self._read_at = self._modified()


class Gatekeeper:
    """Decides on each request. With no keys and a loopback (or `--insecure`) service everybody may, as ''."""

    def __init__(self, keys: KeyStore, is_open: bool, allowed_origins: tuple[str, ...] = ()) -> None:
        self.keys = keys
        self._is_open = is_open
        self._allowed = {origin.rstrip("/").lower() for origin in allowed_origins}

    def identify(self, headers: Headers, query: QueryParams) -> str:
        """The key id of a request ('' where none is needed). Raises `Unauthorized`."""
        bearer = headers.get("authorization", "")
        key = headers.get("xi-api-key") or headers.get("x-api-key") or (bearer[7:] if bearer[:7].lower() == "bearer " else "")
        token = query.get("token", "")
        if key:
            return "" if self._is_open and not len(self.keys) else self.keys.check(key)
        if token:
            return self.keys.check_token(token)
        if self._is_open and not len(self.keys):
            return ""
        raise Unauthorized("an API key is needed: send it as `Authorization: Bearer KEY`; `realtime keys add NAME` makes one")

    def check_origin(self, headers: Headers) -> None:
        """Refuse another site's page. Programs send no Origin or their own base URL's host. Raises `Unauthorized`."""
        origin = headers.get("origin")
        if origin is None or origin.rstrip("/").lower() in self._allowed:
            return
        if urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
            raise Unauthorized(f"pages from {origin} may not connect; add it to server.allowed_origins")


def check_exposure(host: str, keys: KeyStore, settings: Mapping[str, bool]) -> None:
    """Refuse to start a service that strangers could use. Raises `BadOption` that says what to do."""
    if host in LOOPBACK:
        return
    if settings.get("allow_faults"):
        raise BadOption("--allow-faults lets anybody kill workers: it is refused off loopback")
    if not len(keys) and not settings.get("insecure"):
        raise BadOption(f"serving {host} beyond this machine needs a key: run `realtime keys add NAME`, or say --insecure")


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
