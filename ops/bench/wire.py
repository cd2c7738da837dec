"""Cost of the wire's hot path, against the bare libraries in the same run: `python ops/bench/wire.py`.

One audio frame out: session check, dialect, for PCM of 20 and 100 ms at 24 kHz. One text message in. The best of several rounds is
told, in microseconds, because everything else on a shared machine is noise.
"""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable
from functools import partial

import msgpack

from realtime.types import AudioFormat, Budget
from realtime.wire.dialects import DIALECTS
from realtime.wire.events import AppendText, Audio, Open, Opened, Ready
from realtime.wire.session import Session
from realtime.wire.transitions import Role

ROUNDS, CALLS = 7, 5000


def best_us(call: Callable[[], object]) -> float:
    """Microseconds of one call, in the best round."""
    return min(timeit.repeat(call, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


def main() -> None:
    """Measure and print one JSON object."""
    figures: dict[str, float] = {}
    session = Session(Role.SERVER)
    session.send(Ready("bench"))
    session.receive(Open("a"))
    session.send(Opened("a", "voice", AudioFormat(), Budget()))
    sequence = iter(range(ROUNDS * CALLS + 1))
    figures["session_send_us"] = best_us(lambda: session.send(Audio("a", at := next(sequence), at * 480, 480, "engine", b"")))
    for name, kind in DIALECTS.items():
        service, client = kind(Role.SERVER), kind(Role.CLIENT)
        for samples in (480, 2400):
            audio = Audio("utterance-1", 12, 34560, samples, "engine", bytes(samples * 2))
            message = service.encode(audio)
            figures[f"{name}_audio_{samples}_encode_us"] = best_us(partial(service.encode, audio))
            figures[f"{name}_audio_{samples}_decode_us"] = best_us(partial(client.decode, message))
        text = client.encode(AppendText("utterance-1", "a few words "))
        figures[f"{name}_text_decode_us"] = best_us(partial(service.decode, text))
    bare = {
        "type": "audio",
        "utterance": "utterance-1",
        "seq": 12,
        "offset": 34560,
        "samples": 480,
        "engine": "engine",
        "payload": bytes(960),
    }
    figures["bare_msgpack_packb_us"] = best_us(lambda: msgpack.packb(bare))
    figures["encode_ratio_to_bare"] = figures["realtime.v1.msgpack_audio_480_encode_us"] / figures["bare_msgpack_packb_us"]
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
