"""Session timers (RFC 4028): both sides agree how often one of them says that the call is still up, so that a call whose other side lost
power does not stay for ever. We take part when we are asked to; we refresh by UPDATE.

The interval and who refreshes come from the INVITE that we answer, or from the answer to ours. A call that was not refreshed in time is
hung up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiosipua.message import SipMessage
from aiosipua.session_timer import parse_session_expires, watchdog_delay

EXTENSION = "timer"
MIN_S = 90
"""The least interval that an element may ask for (section 4): shorter ones are answered 422."""


class SessionClock:
    """Of one call. `refresh` is to send an UPDATE, `expire` to hang up."""

    def __init__(self, refresh: Callable[[], None], expire: Callable[[], None]) -> None:
        self.interval_s, self.we_refresh = 0, False
        self._refresh, self._expire = refresh, expire
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<SessionClock {self.interval_s} s, refreshed by {'us' if self.we_refresh else 'them'}>"

    def agree(self, request: SipMessage) -> dict[str, str]:
        """What our 200 says to an INVITE or UPDATE of theirs; the clock begins anew. Table 2 of section 9: who is named refreshes, else the
        caller if he can."""
        headers = {"Supported": EXTENSION}
        interval, refresher = _asked(request)
        if not interval:  # not, or no longer, asked for
            self.cancel()
            return headers
        they_can = _supports(request)
        refresher = refresher if they_can and refresher in ("uac", "uas") else ("uac" if they_can else "uas")
        self._start(interval, we_refresh=refresher == "uas")
        headers["Session-Expires"] = f"{interval};refresher={refresher}"
        return headers | ({"Require": EXTENSION} if they_can else {})

    def answered(self, response: SipMessage) -> None:
        """Their 200 to an INVITE or UPDATE of ours."""
        interval, refresher = _asked(response)
        if interval:
            self._start(interval, we_refresh=refresher != "uas")

    @property
    def header(self) -> str:
        """Session-Expires of our UPDATE: it is our request, so we are its caller."""
        return f"{self.interval_s};refresher=uac"

    def cancel(self) -> None:
        """The call is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self, interval: int, *, we_refresh: bool) -> None:
        self.cancel()
        self.interval_s, self.we_refresh = interval, we_refresh
        wait = interval / 2 if we_refresh else watchdog_delay(interval)
        self._timer = asyncio.get_running_loop().call_later(wait, self._refresh if we_refresh else self._expire)


def too_short(request: SipMessage) -> bool:
    """Whether an INVITE asks for more refreshes than we take part in."""
    interval, _ = _asked(request)
    return 0 < interval < MIN_S


def _asked(message: SipMessage) -> tuple[int, str | None]:
    value = message.headers.get_first("session-expires") or message.headers.get_first("x")  # the compact form
    return parse_session_expires(value) if value else (0, None)


def _supports(request: SipMessage) -> bool:
    names = [*request.headers.get("supported"), *request.headers.get("k"), *request.headers.get("require")]
    return any(name.strip().lower() == EXTENSION for value in names for name in value.split(","))
