"""SIP over TCP: messages out of a stream, and calls over connections, by hand and by a real phone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiosipua.message import SipMessage, SipRequest, SipResponse
from realtime_ivr.call import Call
from realtime_ivr.errors import CallFailed
from realtime_ivr.sip.agent import SipSettings
from realtime_ivr.sip.reading import MAX_MESSAGE_BYTES, answer
from realtime_ivr.sip.registering import Registration, RegistrationState
from realtime_ivr.sip.streams import Framer, Unframed
from realtime_ivr.transports.sip import SipTransport

SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


def message(start: str, *lines: str, body: str = "") -> bytes:
    return "\r\n".join([start, *lines, f"Content-Length: {len(body)}", "", body]).encode()


@pytest.mark.parametrize("size", [1, 3, 50, 10_000])
def test_messages_are_cut_out_of_a_stream_wherever_its_pieces_end(size: int) -> None:
    first = message("OPTIONS sip:x SIP/2.0", "X: 1", body="v=0\r\n\r\nbody")
    second = message("SIP/2.0 200 OK", "l : 0").replace(b"Content-Length", b"x")
    data = b"\r\n\r\n" + first + b"\r\n\r\n" + second
    framer = Framer()
    assert [one for at in range(0, len(data), size) for one in framer.push(data[at : at + size])] == [first, second]


@pytest.mark.parametrize(
    "data",
    [b"x" * (MAX_MESSAGE_BYTES + 1), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"A\r\nContent-Length: -1\r\n\r\n", b"A\r\nl: 9999999\r\n\r\n"],
)
def test_what_has_no_end_is_told(data: bytes) -> None:
    with pytest.raises(Unframed):
        Framer().push(data)


class Peer:
    """One end of a connection, written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer, self._framer = reader, writer, Framer()
        self._ready: list[bytes] = []

    def send(self, data: bytes) -> None:
        for at in range(0, len(data), 7):
            self.writer.write(data[at : at + 7])

    async def receive(self) -> SipRequest | SipResponse:
        async with asyncio.timeout(3):
            while not self._ready:
                data = await self._reader.read(1 << 14)
                if not data:
                    raise EOFError
                self._ready += self._framer.push(data)
        return SipMessage.parse(self._ready.pop(0))

    def request(self, method: str, number: int, to_tag: str = "", body: str = "") -> bytes:
        host, port = self.writer.get_extra_info("sockname")
        tag, kind = f";tag={to_tag}" if to_tag else "", ["Content-Type: application/sdp"] if body else []
        return message(
            f"{method} sip:ivr@127.0.0.1 SIP/2.0",
            f"Via: SIP/2.0/TCP {host}:9;branch=z9hG4bK{method}{number}",
            "From: <sip:p@127.0.0.1>;tag=p",
            f"To: <sip:ivr@127.0.0.1>{tag}",
            "Call-ID: c",
            f"CSeq: {number} {method}",
            f"Contact: <sip:p@{host}:{port};transport=tcp>",
            *kind,
            body=body,
        )


@asynccontextmanager
async def agent(**options: Any) -> AsyncIterator[tuple[SipTransport, list[Call]]]:
    calls: list[Call] = []

    async def serve(call: Call) -> None:
        calls.append(call)
        await call.answer()
        while call.hung_up is None:
            await call.next_event()

    transport = SipTransport(SipSettings(port=0, tcp=True), serve, rtp_ports=(57000, 58000), **options)
    transport.agent.patience_s = 0.02
    await transport.start()
    try:
        yield transport, calls
    finally:
        await transport.aclose()
        assert not transport.agent.legs
        await asyncio.sleep(0.02)
        assert len(transport.agent._streams) == 0


@pytest.mark.parametrize("who", ["they", "we"])
async def test_a_call_over_a_connection_stays_on_it(who: str) -> None:
    async with agent() as (transport, calls):
        peer = Peer(*await asyncio.open_connection("127.0.0.1", transport.agent.port))
        peer.send(peer.request("INVITE", 1, body=SDP))
        while (ok := await peer.receive())._start_line().split()[1] != "200":
            pass
        assert isinstance(ok, SipResponse) and ok.to_addr is not None
        assert "transport=tcp" in (ok.headers.get_first("contact") or "")
        peer.send(peer.request("ACK", 1, ok.to_addr.tag or ""))
        if who == "they":
            peer.send(peer.request("BYE", 2, ok.to_addr.tag or ""))
            assert "200" in (await peer.receive())._start_line()
        else:
            await asyncio.sleep(0.05)
            await calls[0].hang_up()
            bye = await peer.receive()
            assert isinstance(bye, SipRequest) and bye.method == "BYE" and bye.via[0].transport == "TCP"
            peer.send(bytes(answer(bye, 200)))
        peer.writer.close()


async def test_who_speaks_no_sip_is_hung_up_on_and_disturbs_nobody() -> None:
    async with agent() as (transport, _):
        peer = Peer(*await asyncio.open_connection("127.0.0.1", transport.agent.port))
        peer.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises((EOFError, ConnectionResetError)):
            await peer.receive()
        peer.writer.close()
        other = Peer(*await asyncio.open_connection("127.0.0.1", transport.agent.port))
        other.send(other.request("OPTIONS", 1))
        assert "200" in (await other.receive())._start_line()
        other.writer.close()


async def test_a_call_out_and_a_registration_go_over_a_connection_and_an_absent_one_is_told() -> None:
    peers: asyncio.Queue[Peer] = asyncio.Queue()
    server = await asyncio.start_server(lambda reader, writer: peers.put_nowait(Peer(reader, writer)), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    registration = Registration(f"sip:200@127.0.0.1:{port};transport=tcp", "pw")
    async with agent(registration=registration) as (transport, _):
        peer = await peers.get()
        register = await peer.receive()
        assert isinstance(register, SipRequest) and "transport=tcp" in (register.headers.get_first("contact") or "")
        peer.send(bytes(answer(register, 200, headers={"Expires": "60"})))
        dialling = asyncio.create_task(transport.dial(f"sip:bob@127.0.0.1:{port};transport=tcp"))
        invite = await peer.receive()  # the same connection
        assert isinstance(invite, SipRequest) and invite.method == "INVITE" and registration.state is RegistrationState.REGISTERED
        peer.send(bytes(answer(invite, 486, to_tag="t")))
        with pytest.raises(CallFailed, match="486 busy"):
            await dialling
        assert (await peer.receive())._start_line().startswith("ACK")
        with pytest.raises(CallFailed, match="no TCP connection"):
            await transport.dial("sip:bob@127.0.0.1:9;transport=tcp")
        closing = asyncio.create_task(registration.aclose())
        goodbye = await peer.receive()
        assert isinstance(goodbye, SipRequest)
        peer.send(bytes(answer(goodbye, 200)))
        await closing
        peer.writer.close()
    server.close()


async def test_a_real_phone_calls_over_tcp(make_phone: Callable[..., Awaitable[Any]]) -> None:
    async with agent() as (transport, calls):
        phone = await make_phone()
        for who in ("the phone", "we"):
            await phone.dial(f"sip:ivr@127.0.0.1:{transport.agent.port};transport=tcp")
            await phone.wait_for("CALL_ESTABLISHED")
            assert len(transport.agent._streams) == 1
            await (phone.hang_up() if who == "the phone" else calls[-1].hang_up())
            await phone.wait_for("CALL_CLOSED")
            async with asyncio.timeout(3):
                while transport.agent.legs:
                    await asyncio.sleep(0.01)
