"""SIP as a bad day brings it: what a socket sends us, and what it must get back."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest
from aiosipua.auth import SipDigestAuth, build_credentials
from aiosipua.headers import AuthChallenge, parse_auth
from aiosipua.message import SipMessage, SipRequest, SipResponse
from hypothesis import given, settings
from hypothesis import strategies as st
from realtime_ivr.call import Call, Digit, Held, HungUp
from realtime_ivr.errors import CallFailed
from realtime_ivr.sip import registering, session_clock, transactions
from realtime_ivr.sip.agent import SipSettings
from realtime_ivr.sip.offer import NoCommonCodec, agree, make_answer, read_sdp
from realtime_ivr.sip.reading import Unreadable, answer, read
from realtime_ivr.sip.registering import Registration, RegistrationState
from realtime_ivr.transports.sip import SipCall, SipTransport

from realtime.audio.g711 import MULAW_DECODE
from realtime.types import Codec

SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP {formats}\r\n{rest}"
EVENTS = "a=rtpmap:101 telephone-event/8000\r\n"


def offer(formats: str = "0 101", port: int = 4000, rest: str = EVENTS) -> str:
    return SDP.format(port=port, formats=formats, rest=rest)


class Peer:
    """A bare socket that writes SIP by hand."""

    def __init__(self, to_port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self._to = ("127.0.0.1", to_port)
        self._held: list[SipRequest | SipResponse] = []
        self.to_tag = ""

    def request(
        self, method: str, *, cseq: int = 1, branch: str = "", body: str = "", to_tag: str = "", extra: str = "", call_id: str = "c1"
    ) -> bytes:
        branch = branch or f"z9hG4bK{method}{cseq}{call_id}"
        tag = f";tag={to_tag}" if to_tag else ""
        kind = "Content-Type: application/sdp\r\n" if body else ""
        return (
            f"{method} sip:ivr@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{self.port};branch={branch};rport\r\nMax-Forwards: 70\r\n"
            f"From: <sip:peer@127.0.0.1>;tag=p\r\nTo: <sip:ivr@127.0.0.1>{tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <sip:peer@127.0.0.1:{self.port}>\r\n{extra}{kind}Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self._to)

    async def receive(self, seconds: float = 3) -> SipRequest | SipResponse:
        async with asyncio.timeout(seconds):
            data = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
        return SipMessage.parse(data)

    async def status(self, wanted: int, seconds: float = 3) -> SipResponse:
        """The next answer with this status, others passed over."""
        async with asyncio.timeout(seconds):
            while True:
                message = await self.receive(seconds)
                if isinstance(message, SipResponse) and message.status_code == wanted:
                    return message

    async def silence(self, seconds: float = 0.15) -> list[str]:
        """What comes within a while."""
        found = []
        try:
            while True:
                message = await self.receive(seconds)
                found.append(message._start_line())
        except TimeoutError:
            return found

    async def call(self, call_id: str = "c1") -> str:
        """INVITE until the 200, and its ACK; our tag at the other side."""
        self.send(self.request("INVITE", body=offer(), call_id=call_id))
        ok = await self.status(200)
        tag = ok.to_addr.tag  # type: ignore[union-attr]
        self.send(self.request("ACK", branch="z9hG4bKack" + call_id, to_tag=tag or "", call_id=call_id))
        return tag or ""


async def hold(call: Call) -> None:
    """A flow that answers and waits for the end."""
    await call.answer()
    while call.hung_up is None:
        await call.next_event()


@asynccontextmanager
async def agent(
    on_call: Callable[[Call], Any] = hold, registration: Registration | None = None, **settings: Any
) -> AsyncIterator[tuple[SipTransport, Peer, list[Call]]]:
    calls: list[Call] = []

    async def serve(call: Call) -> None:
        calls.append(call)
        await on_call(call)

    await asyncio.sleep(0)
    files, tasks = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
    transport = SipTransport(SipSettings(port=0, **settings), serve, rtp_ports=(54000, 57000), registration=registration)
    transport.agent.patience_s = 0.02  # the peer answers no BYE at the end
    await transport.start()
    peer = Peer(transport.agent.port)
    try:
        yield transport, peer, calls
    finally:
        peer.socket.close()
        await transport.aclose()
        assert not transport.agent.legs and len(transport.pacer) == 0
        await asyncio.sleep(0.02)  # closed sockets leave the loop in its next turn
        assert len(os.listdir("/proc/self/fd")) <= files and len(asyncio.all_tasks()) <= tasks, "a socket or task leaked"


async def test_a_repeated_invite_is_one_call_and_gets_the_same_answer() -> None:
    async with agent() as (_, peer, calls):
        first = peer.request("INVITE", body=offer())
        for _ in range(3):
            peer.send(first)
        tags = {(await peer.status(200)).to_addr.tag for _ in range(1)}  # type: ignore[union-attr]
        peer.send(first)
        tags |= {(await peer.status(200)).to_addr.tag}  # type: ignore[union-attr]
        assert len(calls) == 1 and len(tags) == 1


async def test_a_lost_ack_brings_the_200_again_and_its_absence_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "T1_S", 0.02)
    monkeypatch.setattr(transactions, "LIFE_S", 0.3)
    monkeypatch.setattr(transactions, "T2_S", 0.05)
    async with agent() as (_, peer, calls):
        peer.send(peer.request("INVITE", body=offer()))
        first, second = await peer.status(200), await peer.status(200)
        assert bytes(first) == bytes(second)
        async with asyncio.timeout(3):
            while True:
                message = await peer.receive()
                if isinstance(message, SipRequest):
                    break
        assert message.method == "BYE"
        async with asyncio.timeout(3):
            while not calls[0].hung_up:
                await asyncio.sleep(0.01)
        assert calls[0].hung_up.reason == "no ACK came"


async def test_unknown_codecs_are_refused_with_488_and_leave_nothing() -> None:
    async with agent() as (transport, peer, calls):
        for number, formats in enumerate(("9 18", "96")):
            peer.send(peer.request("INVITE", body=offer(formats, rest="a=rtpmap:96 opus/48000/2\r\n"), call_id=f"x{number}"))
            refusal = await peer.status(488)
            assert "Warning" in bytes(refusal).decode()
        assert calls == [] and not transport.agent.legs


async def test_a_flood_of_invites_gets_503_with_retry_after_and_the_admitted_are_served() -> None:
    async with agent(max_calls=3) as (_, peer, calls):
        for number in range(20):
            peer.send(peer.request("INVITE", body=offer(), call_id=f"f{number}"))
        refused = [await peer.status(503) for _ in range(17)]
        assert all(int(one.headers.get_first("retry-after") or 0) > 0 for one in refused)
        assert len(calls) == 3
    async with agent(invites_per_s=5) as (_, peer, calls):
        for number in range(20):
            peer.send(peer.request("INVITE", body=offer(), call_id=f"g{number}"))
        await peer.status(503)
        assert len(calls) <= 6


async def test_cancel_while_it_rings_ends_in_487() -> None:
    async def ring(call: Call) -> None:
        assert isinstance(call, SipCall)
        call.ring()
        assert isinstance(await call.next_event(), HungUp)
        with pytest.raises(CallFailed):
            await call.answer()

    async with agent(ring) as (transport, peer, _):
        peer.send(peer.request("INVITE", branch="z9hG4bKsame", body=offer()))
        await peer.status(180)
        peer.send(peer.request("CANCEL", branch="z9hG4bKsame"))
        assert {(await peer.receive()).status_code for _ in range(2)} == {200, 487}  # type: ignore[union-attr]
        peer.send(peer.request("ACK", branch="z9hG4bKsame"))
        assert not transport.agent.legs


async def test_a_bye_is_answered_again_when_it_comes_again() -> None:
    async with agent() as (_, peer, calls):
        tag = await peer.call()
        bye = peer.request("BYE", cseq=2, to_tag=tag)
        for _ in range(2):
            peer.send(bye)
            await peer.status(200)
        peer.send(peer.request("BYE", cseq=3, to_tag=tag))
        await peer.status(481)
        assert calls[0].hung_up is not None


@pytest.mark.parametrize(
    ("method", "options", "status"),
    [
        ("OPTIONS", {}, 200),
        ("MESSAGE", {}, 405),
        ("BYE", {"to_tag": "nobody"}, 481),
        ("INVITE", {"extra": "Require: 100rel\r\n", "body": offer()}, 420),
        ("INVITE", {"extra": "CSeq: 7 BYE\r\n", "body": offer()}, 200),
        ("INVITE", {"body": "v=nonsense"}, 488),
        ("INVITE", {"extra": "X-Long: " + "a" * 20000 + "\r\n"}, 513),
    ],
)
async def test_each_request_gets_the_answer_that_it_deserves(method: str, options: dict[str, Any], status: int) -> None:
    async with agent() as (_, peer, _):
        peer.send(peer.request(method, **options))
        found = await peer.status(status)
        assert "Allow" in bytes(found).decode() or status not in (200, 405)


async def test_hosts_that_may_not_call_get_403() -> None:
    async with agent(allowed=(ip_network("192.0.2.0/24"),)) as (_, peer, calls):
        peer.send(peer.request("INVITE", body=offer()))
        await peer.status(403)
        assert calls == []


@settings(max_examples=200)
@given(
    st.binary(max_size=300)
    | st.binary(max_size=200).map(lambda b: b"INVITE sip:a@b SIP/2.0\r\nVia: " + b)
    | st.text(max_size=200).map(str.encode)
)
def test_any_datagram_is_read_or_refused(data: bytes) -> None:
    try:
        read(data, ("127.0.0.1", 5060))
    except Unreadable as unreadable:
        if unreadable.answer is not None:
            bytes(unreadable.answer)


async def test_garbage_does_not_disturb_a_call() -> None:
    async with agent() as (transport, peer, calls):
        tag = await peer.call()
        for junk in (b"", b"\r\n\r\n", b"\xff" * 2000, b"INVITE", b"SIP/2.0 200 OK\r\n\r\n", b"ACK sip:x SIP/2.0\r\n\r\n", b"x" * 60000):
            peer.send(junk)
        rtp = calls[0].media.port  # type: ignore[attr-defined]
        for junk in (b"", b"\x80", b"\x80\x00", b"\x80\xc8\x00\x01", b"\x80\xc9" + b"\xff" * 40, b"\x00" * 100, b"\xff" * 1500):
            peer.socket.sendto(junk, ("127.0.0.1", rtp))
            peer.socket.sendto(junk, ("127.0.0.1", rtp + 1))
        peer.send(peer.request("BYE", cseq=2, to_tag=tag))
        await peer.status(200)
        assert transport.agent.counts["unreadable"] >= 3


async def test_a_stranger_and_a_wrong_ssrc_are_not_heard_and_get_no_sound() -> None:
    heard: list[int] = []

    async def listen(call: Call) -> None:
        call.listeners.append(lambda pcm: heard.append(int(pcm[0])))
        await hold(call)

    def packet(number: int, ssrc: int, sample: int) -> bytes:
        return struct.pack("!BBHII", 0x80, 0, number, number * 160, ssrc) + bytes([sample]) * 160

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        phone.bind(("127.0.0.1", 0))
        stranger.bind(("127.0.0.9", 0))
        stranger.setblocking(False)
        async with agent(listen) as (_, peer, calls):
            peer.send(peer.request("INVITE", body=offer(port=phone.getsockname()[1])))
            tag = (await peer.status(200)).to_addr.tag or ""  # type: ignore[union-attr]
            peer.send(peer.request("ACK", branch="z9hG4bKa", to_tag=tag))
            target = ("127.0.0.1", calls[0].media.port)  # type: ignore[attr-defined]
            for number in range(10):
                stranger.sendto(packet(number, 1, 0x10), target)
                phone.sendto(packet(number, 2, 0x20), target)
                if number == 5:
                    phone.sendto(packet(900, 3, 0x30), target)
                await asyncio.sleep(0.01)
            mine = int(MULAW_DECODE[0x20])
            assert heard == [mine] * 10 and calls[0].quality.packets_refused == 11
            with pytest.raises(BlockingIOError):
                stranger.recv(1)


async def test_hold_and_resume_and_a_stale_request() -> None:
    async def watch(call: Call) -> None:
        await call.answer()
        call.play(b"\x10" * 8000)
        while call.hung_up is None:
            event = await call.next_event()
            if isinstance(event, Held):
                held.append((event.is_held, call.queued))

    held: list[tuple[bool, int]] = []
    async with agent(watch) as (_, peer, calls):
        tag = await peer.call()
        peer.send(peer.request("INVITE", cseq=2, to_tag=tag, body=offer(rest=EVENTS + "a=sendonly\r\n")))
        answered = await peer.status(200)
        assert "a=recvonly" in answered.text
        peer.send(peer.request("ACK", cseq=2, branch="z9hG4bKh", to_tag=tag))
        before = calls[0].queued
        await asyncio.sleep(0.1)
        assert calls[0].queued == before  # nothing is said to someone who does not listen, and nothing is lost
        peer.send(peer.request("INVITE", cseq=3, to_tag=tag, body=offer()))
        assert "a=sendrecv" in (await peer.status(200)).text
        peer.send(peer.request("ACK", cseq=3, branch="z9hG4bKr", to_tag=tag))
        await asyncio.sleep(0.1)
        assert calls[0].queued < before and [one for one, _ in held] == [True, False]
        peer.send(peer.request("INFO", cseq=2, to_tag=tag))
        await peer.status(500)


async def test_a_call_that_is_to_be_refreshed_and_is_not_is_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_clock, "watchdog_delay", lambda interval: interval / 300)  # RFC 4028 in less time
    asks = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n"
    async with agent() as (_, peer, calls):
        peer.send(peer.request("INVITE", body=offer(), extra=asks))
        ok = await peer.status(200)
        assert ok.headers.get_first("session-expires") == "90;refresher=uac" and ok.headers.get_first("require") == "timer"
        tag = ok.to_addr.tag or ""  # type: ignore[union-attr]
        peer.send(peer.request("ACK", branch="z9hG4bKa", to_tag=tag))
        for sequence in (2, 3):
            await asyncio.sleep(0.2)
            peer.send(peer.request("UPDATE", cseq=sequence, to_tag=tag, extra=asks))
            assert (await peer.status(200)).headers.get_first("session-expires") == "90;refresher=uac"
        assert calls[0].hung_up is None
        bye = await peer.receive()
        assert isinstance(bye, SipRequest) and bye.method == "BYE"
        assert calls[0].hung_up is not None and calls[0].hung_up.reason == "the other side is gone"


@pytest.mark.parametrize(("status", "stays"), [(200, True), (481, False)])
async def test_a_call_that_we_are_to_refresh_is_refreshed(monkeypatch: pytest.MonkeyPatch, status: int, stays: bool) -> None:
    monkeypatch.setattr(session_clock, "MIN_S", 0)
    async with agent() as (_, peer, calls):
        peer.send(peer.request("INVITE", body=offer(), extra="Require: timer\r\nSession-Expires: 1 ;refresher=uas\r\n"))
        ok = await peer.status(200)
        assert (ok.headers.get_first("session-expires") or "").endswith("refresher=uas")
        peer.send(peer.request("ACK", branch="z9hG4bKa", to_tag=ok.to_addr.tag or ""))  # type: ignore[union-attr]
        update = await peer.receive()
        assert isinstance(update, SipRequest) and update.method == "UPDATE" and not update.body
        peer.send(bytes(answer(update, status, headers={"Session-Expires": "1800;refresher=uac"})))
        await asyncio.sleep(0.1)
        assert (calls[0].hung_up is None) is stays


async def test_an_interval_that_is_too_short_gets_422() -> None:
    async with agent() as (_, peer, calls):
        peer.send(peer.request("INVITE", body=offer(), extra="Supported: timer\r\nx: 30\r\n"))
        assert (await peer.status(422)).headers.get_first("min-se") == "90" and calls == []


async def test_a_late_offer_is_answered_in_the_ack() -> None:
    async with agent() as (_, peer, calls):
        peer.send(peer.request("INVITE"))
        ok = await peer.status(200)
        assert "m=audio" in ok.text
        peer.send(peer.request("ACK", branch="z9hG4bKlate", to_tag=ok.to_addr.tag or "", body=offer("8")))  # type: ignore[union-attr]
        async with asyncio.timeout(2):
            while calls[0].encoding is not Codec.ALAW:
                await asyncio.sleep(0.01)


async def test_keys_by_info_count_too() -> None:
    keys: list[str] = []

    async def watch(call: Call) -> None:
        await call.answer()
        while call.hung_up is None:
            event = await call.next_event()
            keys.extend([event.key] if isinstance(event, Digit) else [])

    async with agent(watch) as (_, peer, _):
        tag = await peer.call()
        body = "Signal=7\r\nDuration=160\r\n"
        info = peer.request("INFO", cseq=2, to_tag=tag, body=body).replace(b"application/sdp", b"application/dtmf-relay")
        peer.send(info)
        await peer.status(200)
        await asyncio.sleep(0.05)
        assert keys == ["7"]


# ---- calls out ----


async def test_an_outgoing_call_answers_a_digest_challenge_and_takes_a_refusal() -> None:
    async with agent() as (transport, peer, _):
        uri = f"sip:bob@127.0.0.1:{peer.port}"
        dialling = asyncio.create_task(transport.dial(uri, auth=SipDigestAuth("me", "secret")))
        first = await peer.receive()
        assert isinstance(first, SipRequest) and "telephone-event" in first.text
        challenge = {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'}
        peer.send(bytes(answer(first, 401, to_tag="t", headers=challenge)))
        ack, again = await peer.receive(), await peer.receive()
        assert isinstance(ack, SipRequest) and ack.method == "ACK" and isinstance(again, SipRequest)
        given_ = parse_auth(again.headers.get_first("authorization") or "")
        wanted = build_credentials(
            SipDigestAuth("me", "secret"),
            AuthChallenge("Digest", {"realm": "r", "nonce": "n", "qop": "auth", "algorithm": "MD5"}),
            "INVITE",
            uri,
            cnonce=given_.params["cnonce"],
        )
        assert wanted is not None and given_.params["response"] == wanted.params["response"]
        peer.send(bytes(answer(again, 486, to_tag="t")))
        with pytest.raises(CallFailed, match="486 busy") as refusal:
            await dialling
        assert refusal.value.status == 486


async def test_a_proxy_and_a_phone_may_both_ask_and_a_stale_nonce_is_taken_anew_but_a_wrong_password_is_not_tried_twice() -> None:
    asked = (
        (407, "Proxy-Authenticate", 'Digest realm="proxy", nonce="1", qop="auth-int, auth"'),
        (401, "WWW-Authenticate", 'Digest realm="phone", nonce="2", algorithm=SHA-256'),
        (407, "Proxy-Authenticate", 'Digest realm="proxy", nonce="3", stale=TRUE, qop="auth"'),
        (401, "WWW-Authenticate", 'Digest realm="phone", nonce="4"'),  # no word of stale: refused
    )
    async with agent() as (transport, peer, _):
        dialling = asyncio.create_task(transport.dial(f"sip:bob@127.0.0.1:{peer.port}", auth=SipDigestAuth("me", "secret")))
        nonces = []
        for status, name, challenge in asked:
            invite = await peer.receive()
            assert isinstance(invite, SipRequest) and invite.method == "INVITE"
            given_ = [invite.headers.get_first(header) for header in ("proxy-authorization", "authorization")]
            nonces.append([parse_auth(one).params["nonce"] if one else "" for one in given_])
            peer.send(bytes(answer(invite, status, to_tag="t", headers={name: challenge})))
            ack = await peer.receive()
            assert isinstance(ack, SipRequest) and ack.method == "ACK"
        with pytest.raises(CallFailed, match="401"):
            await dialling
        assert nonces == [["", ""], ["1", ""], ["1", "2"], ["3", "2"]]


async def test_a_refer_hands_the_caller_on_and_a_refused_one_keeps_him() -> None:
    results: list[object] = []

    async def forward(call: Call) -> None:
        await call.answer()
        for target in ("sip:nobody@127.0.0.1", "sip:agent@127.0.0.1"):
            try:
                await call.transfer(target)
                results.append(target)
            except CallFailed as error:
                results.append(error.status)

    async with agent(forward) as (_, peer, _):
        tag = await peer.call()
        refer = await peer.receive()
        assert isinstance(refer, SipRequest) and refer.method == "REFER" and "nobody" in (refer.headers.get_first("refer-to") or "")
        peer.send(bytes(answer(refer, 603)))
        refer = await peer.receive()
        assert isinstance(refer, SipRequest)
        peer.send(bytes(answer(refer, 202)))
        notify = peer.request("NOTIFY", cseq=5, to_tag=tag, body="SIP/2.0 200 OK\r\n", extra="Event: refer\r\n")
        peer.send(notify.replace(b"application/sdp", b"message/sipfrag"))
        async with asyncio.timeout(3):
            while len(results) < 2:
                await asyncio.sleep(0.01)
        assert results == [603, "sip:agent@127.0.0.1"]


@pytest.mark.parametrize("who", ["the caller", "we"])
async def test_a_hang_up_during_a_transfer_leaves_nothing(who: str) -> None:
    ends: list[str] = []

    async def forward(call: Call) -> None:
        await call.answer()
        try:
            await call.transfer("sip:nobody@127.0.0.1")
        except CallFailed as error:
            ends.append(error.message)

    async with agent(forward) as (transport, peer, calls):
        tag = await peer.call()
        refer = await peer.receive()
        assert isinstance(refer, SipRequest) and refer.method == "REFER"
        peer.send(bytes(answer(refer, 202)))
        if who == "the caller":
            peer.send(peer.request("BYE", cseq=5, to_tag=tag))
            await peer.status(200)
        else:
            await asyncio.sleep(0.05)
            await calls[0].hang_up()
            bye = await peer.receive()
            assert isinstance(bye, SipRequest) and bye.method == "BYE"
            peer.send(bytes(answer(bye, 200)))
        async with asyncio.timeout(2):
            while not ends:
                await asyncio.sleep(0.01)
        assert not transport.agent.legs and len(ends) == 1


@pytest.mark.parametrize("stage", ["nothing came yet", "it rings", "early media"])
@pytest.mark.parametrize("ends", ["487", "picked up meanwhile"])
async def test_a_call_out_that_is_given_up_is_cancelled_and_a_late_answer_is_hung_up(stage: str, ends: str) -> None:
    async with agent() as (transport, peer, _):
        dialling = asyncio.create_task(transport.dial(f"sip:bob@127.0.0.1:{peer.port}"))
        invite = await peer.receive()
        assert isinstance(invite, SipRequest)

        def reply(status: int, request: SipRequest, sdp: str = "") -> None:
            response = answer(request, status, to_tag="t", headers={"Contact": f"<sip:bob@127.0.0.1:{peer.port}>"})
            if sdp:
                response.text, response.content_type = sdp, "application/sdp"
            peer.send(bytes(response))

        if stage != "nothing came yet":
            reply(*((183, invite, offer()) if stage == "early media" else (180, invite)))
            await asyncio.sleep(0.05)
        dialling.cancel()
        await asyncio.gather(dialling, return_exceptions=True)
        if stage == "nothing came yet":
            assert await peer.silence(0.1) == []  # RFC 3261, 9.1: a CANCEL waits for a provisional answer
            reply(100, invite)
        cancel = await peer.receive()
        assert isinstance(cancel, SipRequest) and cancel.method == "CANCEL" and cancel.via[0].branch == invite.via[0].branch
        reply(200, cancel)
        reply(*((487, invite) if ends == "487" else (200, invite, offer())))
        ack = await peer.receive()
        assert isinstance(ack, SipRequest) and ack.method == "ACK"
        if ends != "487":
            bye = await peer.receive()
            assert isinstance(bye, SipRequest) and bye.method == "BYE"
            reply(200, bye)
        assert not transport.agent.legs and await peer.silence(0.1) == []


class Registrar:
    """A bare socket that REGISTERs come to."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.uri = f"sip:200@127.0.0.1:{self.socket.getsockname()[1]}"

    async def next(self) -> tuple[SipRequest, tuple[str, int]]:
        async with asyncio.timeout(3):
            data, source = await asyncio.get_running_loop().sock_recvfrom(self.socket, 65536)
        message = SipMessage.parse(data)
        assert isinstance(message, SipRequest) and message.method == "REGISTER"
        return message, source

    async def answer(self, status: int, headers: dict[str, str] | None = None) -> SipRequest:
        """Take the next REGISTER, answer it."""
        request, source = await self.next()
        self.socket.sendto(bytes(answer(request, status, headers=headers)), source)
        return request


@pytest.fixture
def registrar() -> Iterator[Registrar]:
    made = Registrar()
    yield made
    made.socket.close()


async def until_state(registration: Registration, state: RegistrationState) -> None:
    async with asyncio.timeout(3):
        while registration.state is not state:
            await asyncio.sleep(0.005)


async def test_a_registration_is_challenged_granted_and_taken_back(registrar: Registrar) -> None:
    registration = Registration(registrar.uri, "pw")
    async with agent(registration=registration):
        request = await registrar.answer(401, {"WWW-Authenticate": 'Digest realm="r", nonce="n"'})
        assert request.headers.get_first("authorization") is None
        request = await registrar.answer(200, {"Expires": "120"})
        assert 'username="200"' in (request.headers.get_first("authorization") or "")
        await until_state(registration, RegistrationState.REGISTERED)
        assert registration.granted_s == 120
        closing = asyncio.create_task(registration.aclose())
        assert (await registrar.answer(200)).headers.get_first("expires") == "0"
        await closing


async def test_a_registration_is_renewed_in_time_and_again_after_a_refusal_and_a_silence(
    registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registering, "REFRESH", 0.0005)
    monkeypatch.setattr(registering, "FIRST_RETRY_S", 0.05)
    monkeypatch.setattr(transactions, "LIFE_S", 0.1)
    registration = Registration(registrar.uri, "pw")
    async with agent(registration=registration):
        first = await registrar.answer(423, {"Min-Expires": "400"})
        longer = await registrar.answer(200, {"Contact": "<sip:200@127.0.0.1>;expires=100"})
        assert longer.headers.get_first("expires") == "400" and longer.headers.get_first("call-id") == first.headers.get_first("call-id")
        await until_state(registration, RegistrationState.REGISTERED)
        assert registration.granted_s == 100
        again = await registrar.answer(403)  # renewed before the time is over
        assert again.cseq is not None and longer.cseq is not None and again.cseq.seq > longer.cseq.seq
        await until_state(registration, RegistrationState.REFUSED)
        await registrar.next()  # tried again all the same; no answer to this one
        await until_state(registration, RegistrationState.TRYING)
        await registrar.answer(200, {"Expires": "3600"})
        await until_state(registration, RegistrationState.REGISTERED)
        closing = asyncio.create_task(registration.aclose())
        while (await registrar.answer(200)).headers.get_first("expires") != "0":
            pass
        await closing


# ---- SDP ----


def test_their_order_of_preference_and_their_numbers_count() -> None:
    terms = agree(read_sdp(offer("8 0 97", rest="a=rtpmap:97 telephone-event/8000\r\n")))
    assert (terms.encoding, terms.payload_type, terms.events_type) == (Codec.ALAW, 8, 97)
    text = make_answer(read_sdp(offer("8 0 97", rest="a=rtpmap:97 telephone-event/8000\r\n")), terms, ("127.0.0.1", 4002), "1")
    assert "m=audio 4002 RTP/AVP 8 97" in text


def test_video_is_refused_by_port_0_in_its_place() -> None:
    text = offer().replace("m=audio", "m=video 5000 RTP/AVP 96\r\nm=audio")
    sdp = read_sdp(text)
    lines = [line for line in make_answer(sdp, agree(sdp), ("127.0.0.1", 4002), "1").splitlines() if line.startswith("m=")]
    assert lines == ["m=video 0 RTP/AVP 96", "m=audio 4002 RTP/AVP 0 101"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=0",
        offer().replace("RTP/AVP", "RTP/SAVP"),
        offer(port=0),
        offer("18"),
        offer().replace("c=IN IP4 127.0.0.1", "c=IN IP4 evil.example"),
    ],
)
def test_offers_that_we_can_not_take_are_told_apart(text: str) -> None:
    with pytest.raises(NoCommonCodec):
        agree(read_sdp(text))


def test_hold_of_the_old_kind_is_hold() -> None:
    assert not agree(read_sdp(offer().replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0"))).may_send
