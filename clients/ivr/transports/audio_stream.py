"""FreeSWITCH mod_audio_stream (and its relative mod_audio_fork): FreeSWITCH connects to us, sends its metadata, then L16 at 8 kHz
(`mono 8k`).

Playing back exists in two forms, depending on the module's build: raw L16 as binary messages (`STREAM_PLAYBACK=true`), the default here,
announced by a `rawAudio` message with the rate; or JSON messages whose sound the dialplan plays from a file.

Barge-in: `{"type": "killAudio"}` makes mod_audio_fork and patched builds drop what they hold; the plain module only raises the event
`mod_audio_stream::json`, upon which a script may call `uuid_audio_stream <uuid> break`. There are no marks to us, so nothing tells whether
it was dropped: we send `LEAD_S` ahead at most, so that a caller hears no more than that, whatever the build does.

Digits come only if the dialplan sends them as text (`uuid_audio_stream <uuid> send_text 5`): a text of one key is a key. Written from the
modules' documentation; it met a simulator, no real FreeSWITCH."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from itertools import count

from realtime_ivr.call import KEYS, RATE, CallInfo, Digit, Direction
from realtime_ivr.linked import HELLO_S, OnCall, TheirClockCall, WebSocketListener, b64, run_call
from realtime_ivr.pacer import Pacer
from websockets.asyncio.server import ServerConnection

from realtime.types import Codec

log = logging.getLogger("realtime_ivr")

LEAD_S = 0.04
"""With the frame that may be under way when a key comes, 60 ms at the caller's ear. The module wants a frame every 20 ms at least; what
comes too late for it is played late, so its own buffer grows by as much as the way there varies."""
KILL_PAUSE_S = 0.06
"""Nothing follows a killAudio at once: text and sound may overtake each other inside the module. Precedent: jambonz, 50 to 100 ms."""
_numbers = count(1)


class AudioStreamCall(TheirClockCall):
    """One channel."""

    def __init__(self, info: CallInfo, socket: ServerConnection, pacer: Pacer, *, replies_json: bool, lead_s: float) -> None:
        super().__init__(info, Codec.PCM_S16LE, socket, pacer, has_marks=False, lead_s=lead_s)
        self._replies_json = replies_json
        self._rest = b""
        self._killed_at = 0.0
        if not replies_json:
            self.send(json.dumps({"type": "rawAudio", "data": {"sampleRate": RATE}}))

    def can_send(self) -> bool:
        """Not right behind a killAudio."""
        return time.monotonic() - self._killed_at >= KILL_PAUSE_S

    def write_frames(self, frames: list[bytes]) -> None:
        """Binary L16, 20 ms each, or JSON."""
        if self._replies_json:
            data = {"audioDataType": "raw", "sampleRate": RATE, "audioData": b64(b"".join(frames))}
            self.send(json.dumps({"type": "streamAudio", "data": data}))
            return
        for frame in frames:
            self.send(frame)

    def write_clear(self) -> None:
        """killAudio."""
        self._killed_at = time.monotonic()
        self.send(json.dumps({"type": "killAudio"}))

    async def read(self) -> None:
        """Until the socket closes, which is the hang-up."""
        async for message in self.socket:
            if isinstance(message, bytes):
                data = self._rest + message
                self._rest = data[len(data) // 2 * 2 :]
                self.heard_payload(data[: len(data) // 2 * 2])
            elif message.strip() in tuple(KEYS):
                self.emit(Digit(message.strip()))


class AudioStreamTransport:
    """The server that FreeSWITCH connects to."""

    def __init__(self, host: str, port: int, on_call: OnCall, pacer: Pacer, *, replies_json: bool = False, lead_s: float = LEAD_S) -> None:
        self._listener = WebSocketListener(host, port, self._talk)
        self._on_call, self._pacer, self._replies_json, self._lead_s = on_call, pacer, replies_json, lead_s

    def __repr__(self) -> str:
        return f"<AudioStreamTransport {self._listener.host}:{self.port}>"

    @property
    def port(self) -> int:
        """The port that is bound."""
        return self._listener.port

    async def start(self) -> None:
        """Listen. Raises `BadOption`."""
        await self._listener.start()

    async def aclose(self) -> None:
        """End every call."""
        await self._listener.aclose()

    async def _talk(self, socket: ServerConnection) -> None:
        try:
            async with asyncio.timeout(HELLO_S):
                first = await socket.recv()
        except TimeoutError:
            await socket.close(1008, "silent")
            return
        fields = _metadata(first) if isinstance(first, str) else {}
        name = fields.get("uuid") or fields.get("call_id") or f"audio-stream-{next(_numbers)}"
        info = CallInfo(name, "mod_audio_stream", Direction.INCOMING, fields.get("caller", ""), fields.get("callee", ""), fields)
        call = AudioStreamCall(info, socket, self._pacer, replies_json=self._replies_json, lead_s=self._lead_s)
        await run_call(call, self._on_call, call.read())


def _metadata(text: str) -> dict[str, str]:
    """What the dialplan told: a JSON object, or anything at all."""
    try:
        data = json.loads(text)
    except ValueError:
        return {"metadata": text}
    return {str(name): str(value) for name, value in data.items()} if isinstance(data, dict) else {"metadata": text}
