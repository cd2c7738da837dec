"""An address kept bound at a registrar (RFC 3261, 10), so that a PBX sends us its calls; digest auth, refreshed in time, unbound at the
end.

When the registrar is away, tried again with growing pauses; `state` says what is known.
"""

from __future__ import annotations

import asyncio
import logging
import random
from enum import StrEnum
from typing import TYPE_CHECKING

from aiosipua.auth import SipDigestAuth
from aiosipua.headers import parse_uri
from aiosipua.message import SipRequest
from realtime_ivr.errors import CallFailed
from realtime_ivr.sip.dialog import Dialog, first_request, request_in
from realtime_ivr.sip.digest import MAX_TRIES, Credentials
from realtime_ivr.sip.reading import Address, Response, contact
from realtime_ivr.sip.transactions import Unanswered

from realtime.errors import BadOption

if TYPE_CHECKING:
    from realtime_ivr.sip.agent import SipAgent

log = logging.getLogger("realtime_ivr")

EXPIRES_S = 300
REFRESH = 0.85
"""Of the granted time. Precedent: PJSIP and baresip renew at 90 %, minus a round of retransmissions."""
FIRST_RETRY_S, MAX_RETRY_S = 2.0, 60.0
GOODBYE_S = 1.0


class RegistrationState(StrEnum):
    """Whether the registrar knows us."""

    TRYING = "trying"
    REGISTERED = "registered"
    REFUSED = "refused"
    CLOSED = "closed"


class Registration:
    """One binding: `aor` (sip:USER@HOST) at `registrar` (its host by default)."""

    def __init__(
        self, aor: str, password: str = "", *, username: str | None = None, registrar: str | None = None, expires_s: int = EXPIRES_S
    ) -> None:
        try:
            self._uri = parse_uri(aor)
            self._target = parse_uri(registrar or aor)
        except (ValueError, IndexError) as error:
            raise BadOption(f"{aor!r} can't be registered ({error}); write sip:USER@HOST[:PORT]") from None
        if not self._uri.user:
            raise BadOption(f"{aor!r} names no user; write sip:USER@HOST[:PORT]")
        self.aor, self.state, self.status = aor, RegistrationState.TRYING, 0
        self.granted_s = 0
        self._expires_s = expires_s
        self._auth = SipDigestAuth(username or self._uri.user, password)
        self._agent: SipAgent | None = None
        self._dialog: Dialog | None = None
        self._peer: Address = ("", 0)
        self._answer: asyncio.Future[Response | None] | None = None
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Registration {self.aor} {self.state}, {self.granted_s} s>"

    async def start(self, agent: SipAgent) -> None:
        """Begin to register, and go on until `aclose`. Raises `CallFailed` if the registrar has no address."""
        self._agent = agent
        await agent.resolve(self._target.host, self._target.port)
        agent.on_response, agent.on_unanswered = self._responded, self._unanswered
        self._task = asyncio.create_task(self._keep())

    async def aclose(self) -> None:
        """Unbind, if bound, without waiting long."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.state is RegistrationState.REGISTERED:
            try:
                async with asyncio.timeout(GOODBYE_S):
                    await self._register(0)
            except TimeoutError:
                log.info("%s: the registrar did not take our goodbye", self.aor)
        self.state = RegistrationState.CLOSED

    async def _keep(self) -> None:
        pause = FIRST_RETRY_S
        while True:
            granted = await self._register(self._expires_s)
            if granted:
                pause = FIRST_RETRY_S
                await asyncio.sleep(granted * REFRESH)
            else:
                log.warning("%s is not registered (%s); next try in %.0f s", self.aor, self.status or "no answer", pause)
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                pause = min(MAX_RETRY_S, pause * 2)

    async def _register(self, expires_s: int) -> int:
        """One REGISTER with its challenges answered; the seconds granted, 0 if not."""
        assert self._agent is not None  # started
        try:
            self._peer = await self._agent.reach(self._target)
        except CallFailed as error:
            log.warning("%s: %s", self.aor, error.message)
            self.state, self.status = RegistrationState.TRYING, 0
            return 0
        credentials = Credentials(self._auth)
        for _ in range(MAX_TRIES + 2):  # plain, with digest, with a longer time
            response = await self._ask(expires_s, credentials.headers)
            if response is None:
                self.state, self.status = RegistrationState.TRYING, 0
                return 0
            self.status = response.status
            if response.status < 300:
                self.state = RegistrationState.REGISTERED if expires_s else RegistrationState.CLOSED
                self.granted_s = _granted(response, expires_s)
                return self.granted_s
            if response.status == 423:
                expires_s = self._expires_s = max(expires_s + 1, _number(response.message.headers.get_first("min-expires"), 3600))
                credentials = Credentials(self._auth)
            elif not credentials.answer(response.message, response.status, "REGISTER", self._request_uri):
                break
        self.state = RegistrationState.REFUSED
        return 0

    async def _ask(self, expires_s: int, credentials: dict[str, str]) -> Response | None:
        assert self._agent is not None  # started
        local = self._agent.local_address(self._peer)
        request = self._request(local)
        request.headers.set_single("Contact", contact(self._uri.user or "", local))
        request.headers.set_single("Expires", str(expires_s))
        for name, value in credentials.items():
            request.headers.set_single(name, value)
        self._answer = asyncio.get_running_loop().create_future()
        self._agent.send_request(request, self._peer, None)
        return await self._answer

    def _request(self, local: Address) -> SipRequest:
        """All REGISTERs of a binding share Call-ID and tag, their numbers rise (RFC 3261, 10.2)."""
        if self._dialog is None:
            request, self._dialog = first_request("REGISTER", self._request_uri, self.aor, self.aor, local)
            return request
        return request_in(self._dialog, "REGISTER", local)

    @property
    def _request_uri(self) -> str:
        return f"sip:{self._target.host}" + (f":{self._target.port}" if self._target.port else "")

    def _responded(self, response: Response) -> bool:
        if response.method != "REGISTER" or response.status < 200 or self._answer is None or self._answer.done():
            return False
        self._answer.set_result(response)
        return True

    def _unanswered(self, over: Unanswered) -> bool:
        if over.request.method != "REGISTER" or self._answer is None or self._answer.done():
            return False
        self._answer.set_result(None)
        return True


def _granted(response: Response, wanted: int) -> int:
    for address in response.message.contact:
        if address.params.get("expires"):
            return _number(address.params["expires"], wanted)
    return _number(response.message.headers.get_first("expires"), wanted)


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.strip().isdigit() else default
