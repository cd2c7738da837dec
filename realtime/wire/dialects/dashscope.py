"""DashScope's speech tasks over one WebSocket: `tts_v2` (CosyVoice, text as it is written) and the older Sambert call (text at once).

Written for the unmodified `dashscope` package: what it indexes without asking must be there (`payload.output` null at the end, begin
and end of every sentence), and nothing else may come. Control messages are JSON text, sound is binary. Tasks may follow one
another on a socket; the client closes it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from realtime.errors import BadOption, ProtocolViolation
from realtime.types import AudioFormat, Codec, UtteranceId, nearest_speed
from realtime.wire.dialect import POLICY_VIOLATION, Close, Message, cut_reason, json_map
from realtime.wire.events import AppendText, Audio, Cancel, Cancelled, Done, End, Error, Event, Flush, Open, Opened, SegmentStarted
from realtime.wire.reading import NOT_PROSE, quoted

CODECS = {"pcm": Codec.PCM_S16LE, "wav": Codec.WAV, "mp3": Codec.MP3, "opus": Codec.OGG_OPUS}
MAX_TASK_ID_CHARS = 128


@dataclass(slots=True)
class _Task:
    """One of their tasks as one utterance of ours."""

    utterance: UtteranceId
    task_id: str
    sample_rate: int
    has_words: bool
    text: str = ""
    flushes: int = 0
    has_ended: bool = False


class DashScope:
    """`/api-ws/v1/inference`. Voices (in the older call: models) that are not among `voices` mean the default one."""

    def __init__(self, voices: Collection[str] = ()) -> None:
        self.closing: Close | None = None
        self._voices = voices
        self._tasks: dict[UtteranceId, _Task] = {}
        self._begun = 0

    # ---- in ----

    def decode(self, message: Message) -> Sequence[Event]:
        """One control message as events. Raises `ProtocolViolation` or `BadOption`."""
        if not isinstance(message, str):
            raise ProtocolViolation("a binary frame, but control messages are JSON text")
        data = json_map(message)
        header, payload = _map(data, "header"), _map(data, "payload")
        task_id = header.get("task_id")
        if type(task_id) is not str or not 0 < len(task_id) <= MAX_TASK_ID_CHARS:
            raise ProtocolViolation(f"header.task_id must be a string of 1..{MAX_TASK_ID_CHARS} characters, not {quoted(task_id)}")
        task = next((task for task in self._tasks.values() if task.task_id == task_id), None)
        action = header.get("action")
        if action == "run-task":
            return tuple(self._run(task_id, task, header, payload))
        if action not in ("continue-task", "finish-task"):
            raise ProtocolViolation(f"header.action {quoted(action)} is none of run-task, continue-task, finish-task")
        if task is None:
            return ()  # it ended while this was under way
        given = _map(payload, "input")
        return tuple(self._continue(task, given) if action == "continue-task" else self._finish(task, given))

    def _run(self, task_id: str, task: _Task | None, header: dict[str, Any], payload: dict[str, Any]) -> Iterator[Event]:
        if task is not None:
            raise ProtocolViolation(f"task {task_id!r} is running already", utterance=task.utterance)
        parameters, given = _map(payload, "parameters"), _map(payload, "input")
        self._begun += 1
        utterance = f"t{self._begun}"
        wants_words = parameters.get("word_timestamp_enabled") is True
        task = self._tasks[utterance] = _Task(utterance, task_id, 0, wants_words)
        try:
            format = _format(parameters)
        except BadOption as error:
            error.utterance = utterance
            raise
        task.sample_rate = format.sample_rate
        voice = parameters.get("voice", payload.get("model"))
        seed = parameters.get("seed")
        yield Open(
            utterance,
            voice=voice if type(voice) is str and voice in self._voices else None,
            format=format,
            speed=_speed(parameters),
            seed=seed % 2**32 if type(seed) is int else 0,
        )
        yield from self._continue(task, given)
        if header.get("streaming") == "out":  # the older call: all text is here, no finish-task comes
            yield from self._finish(task, {})

    def _continue(self, task: _Task, given: dict[str, Any]) -> Iterator[Event]:
        text = given.get("text", "")
        if type(text) is not str:
            raise ProtocolViolation(f"payload.input.text must be a string, not {quoted(text)}", utterance=task.utterance)
        text = NOT_PROSE.sub("", text)
        if text and not task.has_ended:
            task.text += text
            yield AppendText(task.utterance, text)
        if given.get("flush") is True and not task.has_ended:
            task.flushes += 1
            yield Flush(task.utterance, f"f{task.flushes}")

    def _finish(self, task: _Task, given: dict[str, Any]) -> Iterator[Event]:
        if given.get("directive") == "cancel":
            yield Cancel(task.utterance)
        elif not task.has_ended:
            yield End(task.utterance)
        task.has_ended = True

    # ---- out ----

    def encode(self, event: Event) -> Message | None:
        """Sound as it is, the rest as events of the task; nothing before `task-started`."""
        task = self._tasks.get(getattr(event, "utterance", None) or "")
        if isinstance(event, Error):
            return self._failed(event, task)
        if task is None:
            return None
        if isinstance(event, Audio):
            return event.payload or None
        if isinstance(event, Opened):
            return _event(task.task_id, "task-started", {})
        if isinstance(event, SegmentStarted):
            return _event(task.task_id, "result-generated", self._sentence(event, task))
        if isinstance(event, Done | Cancelled):
            del self._tasks[task.utterance]
            return _event(task.task_id, "task-finished", {"output": None, "usage": {"characters": len(task.text)}})
        return None

    def _sentence(self, event: SegmentStarted, task: _Task) -> dict[str, Any]:
        """A sentence; one with the same `begin_time` replaces the one before, as ours with the same index do."""
        begin = round(event.sample_offset * 1000 / task.sample_rate)
        words = [
            {"text": task.text[word.start_char : word.end_char], "begin_time": round(word.start_ms), "end_time": round(word.end_ms)}
            for word in event.words
        ]
        sentence = {
            "index": event.index,
            "begin_time": begin,
            "end_time": max(begin, round(event.words[-1].end_ms)) if event.words else begin,
            "words": [{**word, "phonemes": []} for word in words] if task.has_words else [],
        }
        return {"output": {"sentence": sentence}, "usage": {"characters": event.span_end}}

    def _failed(self, event: Error, task: _Task | None) -> str:
        """The package needs code and message in the header. Without a task nobody listens: the socket is closed."""
        if task is not None:
            del self._tasks[task.utterance]
        else:
            self.closing = Close(POLICY_VIOLATION, cut_reason(event.message))
        header = {"error_code": event.code, "error_message": event.message}
        return _event(task.task_id if task is not None else "", "task-failed", {}, **header)


def _map(data: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of a message that must be a map; absent means empty."""
    part = data.get(name, {})
    if type(part) is not dict:
        raise ProtocolViolation(f"{name} must be a map, not {quoted(part)}")
    return part


def _format(parameters: dict[str, Any]) -> AudioFormat:
    """Their default goes out as `Default` at 0 Hz and means MP3 at 22050; the older call leaves out what it does not mind (WAV, 16000)."""
    name, rate = parameters.get("format", "wav"), parameters.get("sample_rate", 16000)
    if name == "Default":
        return AudioFormat(Codec.MP3, rate if type(rate) is int and rate else 22050)
    if type(name) is not str or name.lower() not in CODECS:
        raise BadOption(f"format must be one of {', '.join(CODECS)}, not {quoted(name)}")
    if type(rate) is not int or not 8000 <= rate <= 48000:
        raise BadOption(f"sample_rate must lie in 8000..48000, not {quoted(rate)}")
    kbits = parameters.get("bit_rate")
    codec = CODECS[name.lower()]
    bitrate = kbits * 1000 if codec is Codec.OGG_OPUS and type(kbits) is int and 6 <= kbits <= 510 else None
    return AudioFormat(codec, rate, bitrate)


def _speed(parameters: dict[str, Any]) -> float:
    rate = parameters.get("rate", 1.0)
    return nearest_speed(rate) if type(rate) in (int, float) else 1.0


def _event(task_id: str, name: str, payload: dict[str, Any], **more: str) -> str:
    header = {"task_id": task_id, "event": name, "attributes": {}, **more}
    return json.dumps({"header": header, "payload": payload}, ensure_ascii=False, separators=(",", ":"))
