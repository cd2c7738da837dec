"""espeak-ng's C interface (speak_lib.h of 1.52), as much as is needed: synchronous synthesis into memory.

The library is one global machine per process: one `Library` exists at a time, and calls must not overlap. Positions in events are
1-based characters (code points, also beyond the BMP) of the text of the call.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.errors import EngineFailed, ModelMissing, UnknownVoice, how_to_install

AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000  # else a missing data folder ends the process
CHARS_UTF8 = 1
POS_CHARACTER = 1
EVENT_LIST_TERMINATED, EVENT_WORD = 0, 1
RATE_WPM, VOLUME, PITCH, PITCH_RANGE = 1, 2, 3, 4
BUFFER_MS = 200
LONGEST_PATH = 140  # the library keeps its data path in 160 bytes

Pcm = npt.NDArray[np.int16]


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True, slots=True)
class WordEvent:
    """The library begins a word: `position` is the 0-based character, `sample` the time."""

    position: int
    sample: int


class Library:
    """The loaded library. Raises `ModelMissing` when the extra is not installed or its data can't be read."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise ModelMissing(f"espeak-ng is not installed; {how_to_install('espeak')}") from None
        data = Path(espeakng_loader.get_data_path())
        try:
            self._c = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise ModelMissing(f"espeak-ng can't be loaded: {error}") from error
        self.sample_rate: int = self._c.espeak_Initialize(
            AUDIO_OUTPUT_SYNCHRONOUS, BUFFER_MS, _short(data.parent).encode(), INITIALIZE_DONT_EXIT
        )
        if self.sample_rate <= 0:
            raise ModelMissing(f"espeak-ng can't read its data in {data}")
        self._parts: list[Pcm] = []
        self._words: list[WordEvent] = []
        self._callback = _Callback(self._receive)  # must live as long as the library uses it
        self._c.espeak_SetSynthCallback(self._callback)
        self._now: tuple[str, int, int] | None = None

    @property
    def version(self) -> str:
        """`1.52.0`."""
        info = self._c.espeak_Info
        info.restype = ctypes.c_char_p
        return str(info(None).decode())

    def choose(self, voice: str, words_per_minute: int, pitch: int) -> None:
        """Voice (with a variant, as in `cmn+f2`), rate 80..450 and pitch 0..100 of what follows. Raises `UnknownVoice`."""
        if self._now == (voice, words_per_minute, pitch):
            return
        if self._c.espeak_SetVoiceByName(voice.encode()) != 0:
            self._now = None
            raise UnknownVoice(f"espeak-ng has no voice {voice!r}")
        self._c.espeak_SetParameter(RATE_WPM, words_per_minute, 0)
        self._c.espeak_SetParameter(PITCH, pitch, 0)
        self._now = (voice, words_per_minute, pitch)

    def speak(self, text: str) -> tuple[Pcm, list[WordEvent]]:
        """The sound of a text, int16 [n] at `sample_rate`, and its words. Raises `EngineFailed`."""
        self._parts, self._words = [], []
        raw = text.encode("utf-8") + b"\0"
        status = self._c.espeak_Synth(raw, len(raw), 0, POS_CHARACTER, 0, CHARS_UTF8, None, None)
        if status != 0:
            raise EngineFailed(f"espeak-ng refused a text of {len(text)} characters with status {status}")
        samples = np.concatenate(self._parts) if self._parts else np.zeros(0, dtype=np.int16)
        return samples, self._words

    def close(self) -> None:
        """Give its memory back."""
        self._c.espeak_Terminate()

    def _receive(self, wave: Any, count: int, events: Any) -> int:
        """The library's callback: keep what it made. 0 = go on."""
        if wave and count > 0:
            # not np.ctypeslib.as_array: that makes a type for every length, and ctypes keeps them all
            self._parts.append(np.frombuffer(ctypes.string_at(wave, 2 * count), dtype=np.int16))
        index = 0
        while (event := events[index]).type != EVENT_LIST_TERMINATED:
            if event.type == EVENT_WORD:
                self._words.append(WordEvent(max(0, event.text_position - 1), event.sample))
            index += 1
        return 0


def _short(folder: Path) -> str:
    """The folder's path; through an open descriptor where it is too long for the library."""
    path = str(folder)
    if len(path.encode()) <= LONGEST_PATH:
        return path
    return f"/proc/self/fd/{os.open(path, os.O_PATH | os.O_DIRECTORY)}"
