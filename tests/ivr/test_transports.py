"""The networks that no real peer is at hand for: simulators written from their documents, a beacon's words all the way through."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from realtime_ivr.call import Call
from realtime_ivr.desk import Desk
from realtime_ivr.local_voice import LocalVoice
from realtime_ivr.pacer import Pacer
from realtime_ivr.prompts import Manners, PromptStore
from realtime_ivr.saying import Voices
from realtime_ivr.service import Service
from realtime_ivr.session import Session
from realtime_ivr.theirs import LEAD_S, TheirPlayout
from realtime_ivr.transports.audio_stream import AudioStreamTransport
from realtime_ivr.transports.audiosocket import AudioSocketTransport, Reader
from realtime_ivr.transports.chan_websocket import ChanWebSocketTransport, read_event
from realtime_ivr.transports.twilio import TwilioTransport, is_signed
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from realtime.audio.g711 import MULAW_DECODE, expand
from realtime.engines.beacon.decoder import decode
from realtime.types import Codec

FAST = Manners(speed=2.0)
TEXT = "Good morning to you."
LONG = "One two three four five six seven eight nine ten eleven twelve."


class Shop:
    """A desk with one flow; `sessions` are those that it served."""

    def __init__(self, desk: Desk, sessions: list[Session], lines: list[dict[str, Any]]) -> None:
        self.desk, self.sessions, self.lines = desk, sessions, lines

    async def serve(self, call: Call) -> None:
        self.lines.append(await self.desk.serve(call))

    async def over(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            while not self.lines:
                await asyncio.sleep(0.01)
        return self.lines[0]


@asynccontextmanager
async def shop(url: str, answer: str = TEXT) -> AsyncIterator[Shop]:
    """Say the long text until a key is pressed, then the short one, then hang up."""
    sessions: list[Session] = []

    async def flow(session: Session) -> None:
        sessions.append(session)
        session.set_voice(FAST)
        await session.say(LONG)
        await session.key(1)
        await (session.say(answer) if answer else session.pause(0.4))

    voices = Voices(Service(url), PromptStore(), LocalVoice())
    await voices.service.start()
    try:
        yield Shop(Desk(voices, flow), sessions, [])
    finally:
        await voices.service.aclose()
        await voices.local.aclose()


class TheirClock:
    """A network that queues what it gets and plays it by the clock; marks come back when reached, or at a clear."""

    def __init__(self, socket: ClientConnection, sample_bytes: int) -> None:
        self.socket, self._bytes_per_s = socket, 8000 * sample_bytes
        self.heard = b""
        self.played: list[tuple[float, bytes]] = []
        self._queue: list[bytes | str] = []
        self._playing = asyncio.create_task(self._play())

    def put(self, item: bytes | str) -> None:
        self._queue.append(item)

    def clear(self) -> list[str]:
        marks = [item for item in self._queue if isinstance(item, str)]
        self._queue.clear()
        self.heard += b"\xff" * 800  # what was cut off and what follows are told apart
        return marks

    async def answer_mark(self, name: str) -> None:
        raise NotImplementedError

    def sound_after(self, moment: float) -> float:
        """Milliseconds of sound, not silence, that began to play after `moment`."""
        silent = b"\xff\x7f\x00"  # of mu-law and of linear samples
        return sum(20.0 for at, frame in self.played if at > moment and set(frame) - set(silent))

    async def _play(self) -> None:
        """20 ms every 20 ms by the clock; what comes to an empty queue begins at once."""
        loop = asyncio.get_running_loop()
        due = 0.0
        while True:
            if not self._queue:
                await asyncio.sleep(0.002)
                continue
            item = self._queue.pop(0)
            if isinstance(item, str):
                await self.answer_mark(item)
                continue
            due = max(due + 0.02, loop.time())
            await asyncio.sleep(due - loop.time())
            step = self._bytes_per_s // 50
            self.heard += item[:step]
            self.played.append((time.monotonic(), item[:step]))
            if len(item) > step:
                self._queue.insert(0, item[step:])

    def close(self) -> None:
        self._playing.cancel()


class Twilio(TheirClock):
    """Twilio's side of a stream."""

    async def answer_mark(self, name: str) -> None:
        await self.send("mark", {"mark": {"name": name}})

    async def send(self, event: str, rest: dict[str, Any]) -> None:
        await self.socket.send(json.dumps({"event": event, "sequenceNumber": "9", "streamSid": "MZ1", **rest}))

    async def start(self, encoding: str = "audio/x-mulaw") -> None:
        await self.socket.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        details = {"streamSid": "MZ1", "accountSid": "AC1", "callSid": "CA1", "tracks": ["inbound"], "customParameters": {"caller": "+123"}}
        await self.send("start", {"start": {**details, "mediaFormat": {"encoding": encoding, "sampleRate": 8000, "channels": 1}}})

    async def listen(self) -> None:
        async for message in self.socket:
            data = json.loads(message)
            assert data["streamSid"] == "MZ1"
            if data["event"] == "media":
                self.put(base64.b64decode(data["media"]["payload"]))
            elif data["event"] == "mark":
                self.put(data["mark"]["name"])
            else:
                assert data["event"] == "clear"
                for name in self.clear():
                    await self.answer_mark(name)


async def test_twilio_hears_marks_clears_and_is_hung_up_on(service_url: str) -> None:
    async with shop(service_url) as desk:
        transport = TwilioTransport("127.0.0.1", 0, desk.serve, Pacer())
        await transport.start()
        async with connect(f"ws://127.0.0.1:{transport.port}/media") as socket:
            twilio = Twilio(socket, 1)
            await twilio.start()
            listening = asyncio.create_task(twilio.listen())
            await asyncio.sleep(0.2)
            for number in range(30):
                await twilio.send(
                    "media",
                    {
                        "media": {
                            "track": "inbound",
                            "chunk": str(number),
                            "timestamp": "0",
                            "payload": base64.b64encode(b"\xff" * 160).decode(),
                        }
                    },
                )
            await asyncio.sleep(1.0)
            await twilio.send("dtmf", {"dtmf": {"track": "inbound_track", "digit": "5"}})
            await listening  # ends when we close: the flow is over
        twilio.close()
        record = await desk.over()
        heard = decode(expand(twilio.heard, MULAW_DECODE) / 32768, 8000)
        prompt = record["prompts"][0]
        assert heard.endswith(TEXT) and prompt["interrupted_by"] == "keys"
        before = heard[: -len(TEXT)]
        assert LONG.startswith(before[:-1]) and 0 < prompt["heard_characters"] <= len(before) + 1  # marks told where he was: there at least
        assert record["call"] == "CA1" and record["caller"] == "+123" and record["media"]["packets_received"] == 30
        await transport.aclose()


def test_the_signature_is_the_documented_one() -> None:
    url, token = "wss://example.com/twilio", "12345"
    wanted = base64.b64encode(hmac.new(token.encode(), url.encode(), hashlib.sha1).digest()).decode()
    assert is_signed(token, url, wanted)
    assert is_signed(token, "wss://example.com:443/twilio/", wanted)
    assert (
        not is_signed("other", url, wanted) and not is_signed(token, "wss://example.org/twilio", wanted) and not is_signed(token, url, "")
    )


async def test_an_unsigned_handshake_is_refused_when_there_is_a_token(service_url: str) -> None:
    async with shop(service_url) as desk:
        transport = TwilioTransport("127.0.0.1", 0, desk.serve, Pacer(), auth_token="secret", public_url="wss://voice.example/twilio")
        await transport.start()
        with pytest.raises(InvalidStatus, match="403"):
            await connect(f"ws://127.0.0.1:{transport.port}/twilio")
        good = base64.b64encode(hmac.new(b"secret", b"wss://voice.example/twilio", hashlib.sha1).digest()).decode()
        async with connect(f"ws://127.0.0.1:{transport.port}/twilio", additional_headers={"X-Twilio-Signature": good}):
            pass
        await transport.aclose()


@pytest.mark.parametrize(
    "first", ["{}", "no json", '{"event":"media"}', b"\x00", '{"event":"start","start":{"mediaFormat":{"encoding":"opus"}}}']
)
async def test_what_is_not_twilio_is_closed(service_url: str, first: str | bytes) -> None:
    async with shop(service_url) as desk:
        transport = TwilioTransport("127.0.0.1", 0, desk.serve, Pacer())
        await transport.start()
        async with connect(f"ws://127.0.0.1:{transport.port}/") as socket:
            await socket.send(first)
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
        assert not desk.sessions
        await transport.aclose()


class Asterisk(TheirClock):
    """chan_websocket's side."""

    is_json = False
    flushed = 0

    async def answer_mark(self, name: str) -> None:
        await self.happened("MEDIA_MARK_PROCESSED", name)

    async def happened(self, event: str, argument: str = "") -> None:
        if self.is_json:
            await self.socket.send(json.dumps({"event": event, "correlation_id": argument}))
        else:
            await self.socket.send(f"{event} {argument}".strip())

    async def listen(self) -> list[str]:
        commands = []
        async for message in self.socket:
            if isinstance(message, bytes):
                assert len(message) % 160 == 0  # the rest of any other would be lost
                self.put(message)
                continue
            data = json.loads(message) if self.is_json else dict(zip(("command", "correlation_id"), message.split(), strict=False))
            commands.append(data["command"])
            if data["command"] == "MARK_MEDIA":
                self.put(data["correlation_id"])
            elif data["command"] == "FLUSH_MEDIA":
                for name in self.clear():
                    await self.answer_mark(name)
        return commands


@pytest.mark.parametrize("is_json", [False, pytest.param(True, marks=pytest.mark.slow)])
async def test_chan_websocket_is_answered_served_and_hung_up_on(service_url: str, is_json: bool) -> None:
    async with shop(service_url) as desk:
        transport = ChanWebSocketTransport("127.0.0.1", 0, desk.serve, Pacer())
        await transport.start()
        async with connect(f"ws://127.0.0.1:{transport.port}/media/1", subprotocols=["media"]) as socket:  # type: ignore[list-item]
            asterisk = Asterisk(socket, 1)
            asterisk.is_json = is_json
            fields = {
                "connection_id": "c1",
                "channel": "WebSocket/x",
                "channel_id": "17.1",
                "format": "ulaw",
                "optimal_frame_size": "160",
                "ptime": "20",
            }
            plain = "MEDIA_START " + " ".join(f"{name}:{value}" for name, value in fields.items())
            await socket.send(json.dumps({"event": "MEDIA_START", **fields}) if is_json else plain)
            listening = asyncio.create_task(asterisk.listen())
            await asyncio.sleep(1.0)
            await asterisk.happened("MEDIA_XOFF")
            await asterisk.happened("MEDIA_XON")
            await socket.send(json.dumps({"event": "DTMF_END", "digit": "1"}) if is_json else "DTMF_END digit:1")
            commands = await listening
        asterisk.close()
        record = await desk.over()
        assert commands[0] == "ANSWER" and commands[-1] == "HANGUP" and "FLUSH_MEDIA" in commands
        assert decode(expand(asterisk.heard, MULAW_DECODE) / 32768, 8000).endswith(TEXT)
        assert record["call"] == "17.1" and record["prompts"][0]["interrupted_by"] == "keys"
        await transport.aclose()


async def test_a_channel_in_a_foreign_format_is_told_what_to_dial(service_url: str) -> None:
    async with shop(service_url) as desk:
        transport = ChanWebSocketTransport("127.0.0.1", 0, desk.serve, Pacer())
        await transport.start()
        async with connect(f"ws://127.0.0.1:{transport.port}/", subprotocols=["media"]) as socket:  # type: ignore[list-item]
            await socket.send("MEDIA_START connection_id:1 format:slin48 optimal_frame_size:1920")
            with pytest.raises(ConnectionClosed, match="ulaw"):
                await socket.recv()
        await transport.aclose()


def test_events_are_read_in_both_ways_of_writing() -> None:
    assert read_event("MEDIA_MARK_PROCESSED abc") == {"event": "MEDIA_MARK_PROCESSED", "id": "abc"}
    assert read_event('{"event":"DTMF_END","digit":5}') == {"event": "DTMF_END", "digit": "5"}
    with pytest.raises(ValueError, match="not enough"):
        read_event("")


class FreeSwitch(TheirClock):
    """mod_audio_stream's side. `kills`: a build that knows killAudio; any other makes an event of it and plays on."""

    kills = False

    async def listen(self) -> list[dict[str, Any]]:
        texts = []
        async for message in self.socket:
            if isinstance(message, bytes):
                assert len(message) == 320  # what the module's documents advise
                self.put(message)
                continue
            data = json.loads(message)
            texts.append(data)
            if data["type"] == "streamAudio":
                assert data["data"]["audioDataType"] == "raw" and data["data"]["sampleRate"] == 8000
                self.put(base64.b64decode(data["data"]["audioData"]))
            elif data["type"] == "killAudio" and self.kills:
                self.clear()
        return texts


@pytest.mark.parametrize("replies_json", [False, pytest.param(True, marks=pytest.mark.slow)])
async def test_mod_audio_stream_is_served(service_url: str, replies_json: bool) -> None:
    async with shop(service_url) as desk:
        transport = AudioStreamTransport("127.0.0.1", 0, desk.serve, Pacer(), replies_json=replies_json)
        await transport.start()
        async with connect(f"ws://127.0.0.1:{transport.port}/") as socket:
            freeswitch = FreeSwitch(socket, 2)
            await socket.send(json.dumps({"uuid": "fs-1", "caller": "100"}))
            await socket.send(b"\x00" * 321)  # an odd cut
            listening = asyncio.create_task(freeswitch.listen())
            await asyncio.sleep(1.0)
            await socket.send("3")
            texts = await listening
        freeswitch.close()
        record = await desk.over()
        assert record["call"] == "fs-1" and record["prompts"][0]["interrupted_by"] == "keys"
        assert decode(np.frombuffer(freeswitch.heard, "<i2") / 32768, 8000).endswith(TEXT)
        first = {"type": "rawAudio", "data": {"sampleRate": 8000}}
        assert replies_json or (texts[0] == first and texts[1:] == [{"type": "killAudio"}])
        await transport.aclose()


NETWORKS = ("twilio", "chan_websocket", "mod_audio_stream", "mod_audio_stream that kills", "audiosocket")


async def test_what_is_heard_behind_a_key_is_60_ms_at_most_on_every_network(service_url: str) -> None:
    heard_ms = await asyncio.gather(*(_heard_behind_a_key(service_url, network) for network in NETWORKS))
    assert max(heard_ms) <= 60, dict(zip(NETWORKS, heard_ms, strict=True))


async def _heard_behind_a_key(service_url: str, network: str) -> float:
    kinds: dict[str, Any] = {"twilio": TwilioTransport, "chan_websocket": ChanWebSocketTransport, "audiosocket": AudioSocketTransport}
    async with shop(service_url, answer="") as desk:
        transport = kinds.get(network, AudioStreamTransport)("127.0.0.1", 0, desk.serve, Pacer())
        await transport.start()
        heard_ms = await (_on_audiosocket if network == "audiosocket" else _on_websocket)(transport.port, network)
        record = await desk.over()
        assert record["prompts"][0]["interrupted_by"] == "keys", network
        await transport.aclose()
        return heard_ms


async def _on_websocket(port: int, network: str) -> float:
    """Press a key in mid-sentence; how much sound began to play behind it."""
    async with connect(f"ws://127.0.0.1:{port}/", subprotocols=["media"] if network == "chan_websocket" else None) as socket:  # type: ignore[list-item]
        them: TheirClock
        if network == "twilio":
            them = Twilio(socket, 1)
            await them.start()
        elif network == "chan_websocket":
            them = Asterisk(socket, 1)
            await socket.send("MEDIA_START connection_id:c format:ulaw optimal_frame_size:160")
        else:
            them = FreeSwitch(socket, 2)
            them.kills = network.endswith("kills")
            await socket.send("{}")
        listening = asyncio.create_task(them.listen())  # type: ignore[attr-defined]
        await asyncio.sleep(1.2)
        pressed = time.monotonic()
        if network == "twilio":
            await them.send("dtmf", {"dtmf": {"track": "inbound_track", "digit": "5"}})  # type: ignore[attr-defined]
        else:
            await socket.send("DTMF_END digit:1" if network == "chan_websocket" else "1")
        await listening
    them.close()
    assert 800 < them.sound_after(0) < 1600
    return them.sound_after(pressed)


async def _on_audiosocket(port: int, network: str) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x01\x00\x10" + uuid.uuid4().bytes)
    messages, pressed, heard_ms = Reader(), 0.0, 0.0
    began = time.monotonic()
    while data := await reader.read(1 << 14):
        sound = [payload for kind, payload in messages.push(data) if kind == 0x10]
        heard_ms += sum(20.0 for payload in sound if any(payload)) if pressed else 0.0
        if not pressed and time.monotonic() - began > 1.2:
            pressed = time.monotonic()
            writer.write(b"\x03\x00\x019")
    writer.close()
    return heard_ms


async def test_audiosocket_is_paced_served_and_hung_up_on(service_url: str) -> None:
    async with shop(service_url) as desk:
        transport = AudioSocketTransport("127.0.0.1", 0, desk.serve, Pacer())
        await transport.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", transport.port)
        name = uuid.uuid4()
        for byte in b"\x01\x00\x10" + name.bytes:  # a byte at a time: TCP cuts anywhere
            writer.write(bytes([byte]))
            await writer.drain()
        writer.write(b"\x10\x01\x40" + bytes(320) + b"\x42\x00\x00")  # sound, and a kind from the future
        messages, found, began = Reader(), [], time.monotonic()
        pressed = False
        while data := await reader.read(1 << 14):
            found += messages.push(data)
            if not pressed and time.monotonic() - began > 1:
                pressed = True
                writer.write(b"\x03\x00\x01" + b"9")
        writer.close()
        record = await desk.over()
        sound = b"".join(payload for kind, payload in found if kind == 0x10)
        assert found[-1] == (0x00, b"") and all(len(payload) == 320 for kind, payload in found if kind == 0x10)
        assert decode(np.frombuffer(sound, "<i2") / 32768, 8000).endswith(TEXT)
        assert record["call"] == str(name) and record["prompts"][0]["interrupted_by"] == "keys"
        await transport.aclose()


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\x02ab", b"\x10\x00\x02ab", b""])
async def test_what_is_not_asterisk_is_hung_up_on(service_url: str, first: bytes) -> None:
    async with shop(service_url) as desk:
        transport = AudioSocketTransport("127.0.0.1", 0, desk.serve, Pacer())
        await transport.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", transport.port)
        writer.write(first)
        if not first:
            writer.write_eof()
        assert await reader.read(100) == b""
        writer.close()
        assert not desk.sessions
        await transport.aclose()


# ---- the playout over there, by a clock that the test moves ----


def test_little_is_sent_ahead_and_the_position_goes_with_the_clock() -> None:
    theirs = TheirPlayout(Codec.MULAW, has_marks=True)
    theirs.queue.push(bytes(8000))
    assert len(theirs.due(0.0)) * 160 == LEAD_S * 8000
    assert theirs.heard(0.1) == 800 and theirs.queued(0.1) == 7200
    assert len(theirs.due(0.1)) * 160 == 800
    assert theirs.heard(10.0) == theirs.sent  # never beyond what is there


def test_marks_correct_the_clock_and_old_ones_mean_nothing() -> None:
    theirs = TheirPlayout(Codec.MULAW, has_marks=True)
    theirs.queue.push(bytes(8000))
    theirs.due(0.0)
    first = theirs.mark_due()
    assert first == "0.3200"
    theirs.marked(first, 0.1)
    assert theirs.heard(0.1) == 3200
    theirs.due(0.1)
    stale = theirs.mark_due()
    assert stale is not None
    theirs.clear(0.2)
    heard = theirs.heard(0.2)
    theirs.marked(stale, 0.2)
    for wrong in ("", "x", "1.999999", "1.-3", "7.1"):
        theirs.marked(wrong, 0.2)
    assert theirs.heard(0.3) == heard == theirs.sent


def test_names_pass_by_marks_where_there_are_marks() -> None:
    for has_marks, wanted in ((True, []), (False, ["end"])):
        theirs = TheirPlayout(Codec.MULAW, has_marks=has_marks)
        theirs.queue.push(bytes(1600))
        theirs.name("end")
        theirs.queue.mark("")
        theirs.due(0.0)
        assert theirs.passed(5.0) == wanted
        theirs.marked("0.1600", 5.0)
        assert theirs.passed(5.0) == ([] if wanted else ["end"])


@pytest.mark.parametrize("lead_s", [0.0, 0.02, 0.04, 0.1])
def test_never_more_than_the_lead_is_over_there(lead_s: float) -> None:
    theirs = TheirPlayout(Codec.MULAW, has_marks=False, lead_s=lead_s)
    theirs.queue.push(bytes(80000))
    now, sent = 0.0, 0
    for step in (0.02, 0.013, 0.031, 0.02, 0.005, 0.2, 0.02) * 20:
        sent += len(theirs.due(now)) * 160
        assert theirs.sent == sent and theirs.sent - theirs.heard(now) <= max(160, lead_s * 8000)
        now += step
    assert sent >= 160 * 20  # one frame a step at least, but for the short ones
