"""Calls over SIP and RTP: in and out, to phones and PBXs.

    transport = SipTransport(SipSettings(port=5090), on_call)
    await transport.start()
    call = await transport.dial("sip:bob@127.0.0.1:5080")

Met real peers: baresip (caller and called), SIPp; see README for what was tried.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from aiosipua.auth import SipDigestAuth
from realtime_ivr.call import FRAME_S, Call, CallInfo, Digit, Direction, Held, HungUp, MarkHeard, Quality
from realtime_ivr.errors import CallFailed
from realtime_ivr.pacer import Pacer
from realtime_ivr.sip.agent import SipAgent, SipSettings
from realtime_ivr.sip.leg import Leg, Stage
from realtime_ivr.sip.media import Media, Ports
from realtime_ivr.sip.offer import Terms
from realtime_ivr.sip.reading import Address
from realtime_ivr.sip.registering import Registration

from realtime.audio.samples import Int16
from realtime.types import Codec

log = logging.getLogger("realtime_ivr")

ACK_S = 1.0
"""How long an answered caller may take to acknowledge before we speak anyway: what is said before might not be heard. Guess."""
RING_S = 60.0
"""How long an outgoing call may ring. Precedent: Asterisk's Dial and most phones, 30 to 180 s."""
REFER_S = 30.0
OnCall = Callable[[Call], Awaitable[object]]


class SipCall(Call):
    """One call over SIP. Its media run from the answer to the hang-up."""

    def __init__(self, leg: Leg, media: Media, pacer: Pacer, info: CallInfo) -> None:
        super().__init__(info, leg.terms.encoding if leg.terms else Codec.MULAW)
        self.leg, self._media, self._pacer = leg, media, pacer
        self._is_held = False
        self._is_running = False
        media.on_marks = self._marks
        media.on_sent = self.on_sent
        media.quality = self.quality
        leg.media_port = media.port
        leg.on_terms, leg.on_key, leg.on_over = self._agreed, self._key, self._over

    @property
    def media(self) -> Media:
        """Sockets and counters, for recordings and tests."""
        return self._media

    async def answer(self) -> None:
        """Pick up, and wait a moment for the ACK."""
        self.leg.accept()
        await self._wait(self.leg.acknowledged, ACK_S)
        if self.leg.stage is Stage.OVER:
            raise CallFailed("the caller hung up as the call was answered")

    def ring(self) -> None:
        """Let the caller hear it ring."""
        self.leg.ring()

    def refuse(self, status: int = 486) -> None:
        """Do not take the call."""
        self.leg.refuse(status)

    async def hang_up(self, reason: str = "") -> None:
        """BYE, CANCEL or an error answer, whatever is due."""
        self.leg.hang_up(reason)

    async def transfer(self, target: str) -> None:
        """Blind transfer: REFER, wait for how it goes, hang up. Raises `CallFailed`; the call is then still ours."""
        if self.leg.stage is Stage.OVER:
            raise CallFailed("the call is over")
        self.leg.refer(target if ":" in target else f"sip:{target}")
        try:
            async with asyncio.timeout(REFER_S):
                status = 100
                while status < 200 and self.hung_up is None:
                    status = await self.leg.refer_status.get()
        except TimeoutError:
            status = 408
        if status >= 300:
            raise CallFailed(f"the transfer to {target} was refused with {status}", status=status)
        self.leg.hang_up("transferred")

    async def send_digits(self, keys: str) -> None:
        """Press keys as telephone-events; returns when they are sent. Raises `CallFailed`."""
        if self._media.terms is None or self._media.terms.events_type is None:
            raise CallFailed("the other side takes no telephone-events")
        try:
            self._media.keys.push(keys)
        except ValueError as error:
            raise CallFailed(str(error)) from None
        while self._media.keys.is_busy and self.hung_up is None:  # noqa: ASYNC110  # keys go out at this very pace
            await asyncio.sleep(FRAME_S)

    def play(self, payload: bytes) -> None:
        """Queue sound."""
        self._media.playout.push(payload)

    def mark(self, name: str) -> None:
        """Report when all queued so far is sent."""
        self._media.playout.mark(name)

    def clear(self) -> int:
        """Take back what was not sent."""
        forgotten = self._media.playout.clear()
        self._marks(self._media.playout.marks_passed())
        return forgotten

    def cut(self, position: int) -> None:
        """Take back what lies behind `position`."""
        self._media.playout.cut(position)

    @property
    def played(self) -> int:
        """Samples sent; the network and the phone's buffer add some 60 ms until the ear."""
        return self._media.playout.played

    @property
    def queued(self) -> int:
        """Samples that wait."""
        return self._media.playout.queued

    # ---- private ----

    def _agreed(self, terms: Terms) -> None:
        self.encoding = terms.encoding
        self._media.apply(terms, self.leg.peer[0])
        if not self._is_running:
            self._is_running = True
            self._pacer.add(self._media)
        is_held = not terms.may_send
        if is_held != self._is_held:
            self._is_held = is_held
            self.emit(Held(is_held))

    def _marks(self, names: list[str]) -> None:
        for name in names:
            self.emit(MarkHeard(name))

    def _key(self, key: str) -> None:
        self.emit(Digit(key))

    def _over(self, end: HungUp) -> None:
        self._pacer.remove(self._media)
        self._media.close()
        self.emit(end)
        self.leg.refer_status.put_nowait(487)  # whoever waits for a transfer

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return


class SipTransport:
    """Owns the agent, the media ports and the tasks of the calls that came in."""

    def __init__(
        self,
        settings: SipSettings,
        on_call: OnCall,
        *,
        pacer: Pacer | None = None,
        rtp_ports: tuple[int, int] = (20000, 29999),
        registration: Registration | None = None,
        suppress_silence: bool = False,
    ) -> None:
        self.pacer = Pacer() if pacer is None else pacer
        self.agent = SipAgent(settings, self._incoming)
        self._ports = Ports(settings.host, *rtp_ports)
        self._on_call = on_call
        self._registration = registration
        self._suppresses_silence = suppress_silence
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<SipTransport {self.agent!r}, {len(self._tasks)} being served>"

    async def start(self) -> None:
        """Listen, and register if asked to. Raises `BadOption`, `CallFailed`."""
        await self.agent.start()
        if self._registration is not None:
            await self._registration.start(self.agent)

    async def aclose(self) -> None:
        """Hang up everything, let the flows see it, close."""
        if self._registration is not None:
            await self._registration.aclose()
        await self.agent.aclose()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def dial(self, uri: str, *, auth: SipDigestAuth | None = None, proxy: Address | None = None, ring_s: float = RING_S) -> SipCall:
        """Call somebody; returns when they answered. Raises `CallFailed` with the SIP status, `BadOption` for what is no address."""
        leg, invite = await self.agent.prepare(uri, proxy)
        try:
            call = await self._make(leg, CallInfo(leg.dialog.call_id, "sip", Direction.OUTGOING, leg.dialog.local_uri, uri))
            self.agent.call(leg, invite, auth)
            async with asyncio.timeout(ring_s):
                await leg.answered.wait()
        except TimeoutError:
            leg.hang_up("nobody answered")
            raise CallFailed(f"{uri}: nobody answered within {ring_s:g} s", status=408) from None
        except BaseException:
            leg.hang_up("given up")
            raise
        if leg.failure is not None:
            raise leg.failure
        if leg.stage is Stage.OVER:
            raise CallFailed(f"{uri}: hung up as it was answered")
        return call

    # ---- private ----

    def _incoming(self, leg: Leg) -> None:
        task = asyncio.create_task(self._serve(leg))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    async def _serve(self, leg: Leg) -> None:
        assert leg.invite is not None  # incoming
        headers = _extra_headers(leg)
        info = CallInfo(leg.dialog.call_id, "sip", Direction.INCOMING, leg.dialog.remote_uri, leg.dialog.local_uri, headers)
        try:
            call = await self._make(leg, info)
        except CallFailed as error:
            log.warning("call from %s refused: %s", info.caller, error.message)
            leg.refuse(503, headers={"Retry-After": str(self.agent.settings.retry_after_s)})
            return
        try:
            await self._on_call(call)
        finally:
            await call.hang_up()

    async def _make(self, leg: Leg, info: CallInfo) -> SipCall:
        call: SipCall | None = None

        def key(pressed: str) -> None:
            if call is not None:
                call.emit(Digit(pressed))

        def voice(pcm: Int16) -> None:
            if call is not None:
                call.heard_from_caller(pcm)

        media = Media(Quality(), key, voice)
        media.suppresses_silence = self._suppresses_silence
        await self._ports.open(media)
        call = SipCall(leg, media, self.pacer, info)
        if leg.stage is Stage.OVER:  # cancelled while the sockets were bound
            media.close()
            raise CallFailed("the caller hung up before the call was answered", status=487)
        return call

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a call's flow failed", exc_info=error)


def _extra_headers(leg: Leg) -> Mapping[str, str]:
    assert leg.invite is not None  # incoming
    return {name: values[0] for name, values in leg.invite.message.headers.items() if name.lower().startswith("x-") and values}
