"""Digest challenges answered for one request (RFC 3261, 22; RFC 7616): a proxy's and the phone's behind it, each once, and again when the
other side calls the nonce stale. A challenge that comes again for no such reason means that the password is wrong."""

from __future__ import annotations

from aiosipua.auth import SipDigestAuth, answer_challenge
from aiosipua.headers import parse_auth
from aiosipua.message import SipResponse

MAX_TRIES = 4
"""A proxy, a phone, and a stale nonce of each."""
CHALLENGES = {401: "www-authenticate", 407: "proxy-authenticate"}


class Credentials:
    """`headers` go with the next try of the request."""

    def __init__(self, auth: SipDigestAuth | None) -> None:
        self._auth = auth
        self._tries = 0
        self.headers: dict[str, str] = {}

    def answer(self, response: SipResponse, status: int, method: str, uri: str) -> bool:
        """Take a challenge; whether to try again."""
        if self._auth is None or status not in CHALLENGES or self._tries >= MAX_TRIES:
            return False
        header = answer_challenge(self._auth, response, status, method, uri)
        if header is None or (header[0] in self.headers and not _is_stale(response, status)):
            return False
        self._tries += 1
        self.headers[header[0]] = header[1]
        return True


def _is_stale(response: SipResponse, status: int) -> bool:
    """Whether the password was right and only the nonce too old (RFC 7616, 3.3)."""
    for value in response.headers.get(CHALLENGES[status]):
        try:
            if parse_auth(value).params.get("stale", "").strip('"').lower() == "true":
                return True
        except (ValueError, IndexError):
            continue
    return False
