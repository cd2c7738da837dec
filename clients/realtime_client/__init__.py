"""Async Python client of the native protocol.

    async with connect("ws://127.0.0.1:7860") as client:
        async for piece in client.speak(tokens(), voice="..."):
            play(piece.pcm)

May import of the project: realtime.wire, realtime.audio, realtime.types, realtime.errors.
"""

from realtime_client.client import Client, connect
from realtime_client.errors import ConnectionLost
from realtime_client.pieces import AudioPiece
from realtime_client.utterance import Manner, Utterance

__all__ = ["AudioPiece", "Client", "ConnectionLost", "Manner", "Utterance", "connect"]
