"""The client against a service in this process: speaking, cancelling, errors, backpressure, lost connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any

import numpy as np
import pytest
from realtime_client import AudioPiece, Client, ConnectionLost, Manner, Utterance, connect
from realtime_client.errors import error_from
from realtime_client.inbox import Inbox
from realtime_client.link import Link, stream_url
from realtime_client.writer import MAX_UNSENT_CHARS
from websockets.asyncio.server import serve

from realtime.audio.codecs import make_encoder
from realtime.errors import (
    BadOption,
    BadText,
    Draining,
    EngineFailed,
    Overloaded,
    ProtocolViolation,
    RealtimeError,
    ServiceError,
    Unauthorized,
    UnknownVoice,
)
from realtime.types import AudioFormat, Codec, Usage
from realtime.wire.dialects import DIALECTS
from realtime.wire.events import (
    AppendText,
    Audio,
    BudgetChoice,
    BudgetProfile,
    Cancel,
    Cancelled,
    Done,
    End,
    Error,
    Flushed,
    Limits,
    Open,
    Opened,
    Ping,
    Played,
    Ready,
    SegmentStarted,
    Switch,
    TextPaused,
    TextResumed,
)

TEXT = "one two three four five six seven. eight nine ten eleven, twelve."
Service = Any


LOOKING_AHEAD = (Codec.OPUS, Codec.OGG_OPUS, Codec.FLAC)  # their decoders give a piece's last samples with the next one


async def listen(utterance: Utterance) -> bytes:
    """All sound of an utterance as PCM, laid on its timeline as a file would."""
    sound = bytearray()
    async for piece in utterance:
        sound[piece.offset * 2 :] = piece.payload
    return bytes(sound)


async def written(text: str) -> AsyncIterator[str]:
    for character in text:
        yield character
        await asyncio.sleep(0)


class TestSpeaking:
    @pytest.mark.parametrize("subprotocol", DIALECTS)
    async def test_text_becomes_sound(self, service: Service, subprotocol: str) -> None:
        async with connect(service.url, subprotocol=subprotocol) as client:
            utterance = client.speak(TEXT)
            sound = await listen(utterance)
            assert service.read_back(sound) == TEXT
            assert isinstance(utterance.result, Done)
            assert utterance.result.usage.characters == len(TEXT)
            assert utterance.audio_s == pytest.approx(len(TEXT) * 0.01)
            assert utterance.audio_s_by_engine == {"fake": pytest.approx(len(TEXT) * 0.01)}
            assert [utterance.text[w.start_char : w.end_char] for w in utterance.words] == TEXT.split()
            assert utterance.ttfa_ms is not None and utterance.ttfa_ms >= 0
            assert utterance.switches == 0 and utterance.is_over

    @pytest.mark.parametrize("source", [TEXT.split(" "), iter(["a", "", "b"]), "x"], ids=["list", "iterator", "string"])
    async def test_any_source_of_text(self, service: Service, source: Any) -> None:
        async with connect(service.url) as client:
            utterance = client.speak(source)
            assert service.read_back(await listen(utterance)) == utterance.text != ""

    async def test_sound_comes_while_text_is_still_written(self, service: Service) -> None:
        go_on = asyncio.Event()

        async def slowly() -> AsyncIterator[str]:
            yield "one two "
            await go_on.wait()
            yield "three"

        async with connect(service.url) as client:
            utterance = client.speak(slowly())
            pieces = aiter(utterance)
            first = await anext(pieces)
            assert first.offset == 0 and first.engine == "fake" and first.sample_rate == 24000
            go_on.set()
            rest = [piece async for piece in pieces]
            assert service.read_back(first.payload + b"".join(piece.payload for piece in rest)) == "one two three"

    async def test_pieces_carry_samples_unless_told_not_to(self, service: Service) -> None:
        async with connect(service.url) as client:
            pieces = [piece async for piece in client.speak("A")]
            assert all(isinstance(piece, AudioPiece) and piece.pcm.dtype == np.float32 for piece in pieces)
            assert np.allclose(np.concatenate([piece.pcm for piece in pieces]), ord("A") / 32768)
            assert [len(p.pcm) async for p in client.speak("A", Manner(decode=False))] == [0]

    @pytest.mark.parametrize("codec", Codec)
    async def test_decoded_samples_add_up_in_every_codec(self, service: Service, codec: Codec) -> None:
        tone = np.sin(np.arange(24000) * (2 * np.pi * 440 / 24000)).astype(np.float32) * 0.5
        encoder = make_encoder(AudioFormat(codec))
        frames = [*encoder.encode(tone), *encoder.flush()]

        async def sing(talk: Any, event: Open) -> None:
            async def handle(inner: Any) -> None:
                if isinstance(inner, AppendText):
                    for seq, frame in enumerate(frames):
                        await talk.send(Audio(inner.utterance, seq, frame.start, frame.samples, "e", frame.payload))
                elif not isinstance(inner, Open):
                    await original(inner)

            original, talk.handle = talk.handle, handle

        service.on_open = sing
        async with connect(service.url) as client:
            pieces = [piece async for piece in client.speak("la", format=AudioFormat(codec))]
            sound = np.concatenate([piece.pcm for piece in pieces])
            assert len(sound) == sum(frame.samples for frame in frames) == 24000
            assert all(len(piece.pcm) == piece.samples for piece in pieces if codec not in LOOKING_AHEAD)
            assert np.corrcoef(sound, tone)[0, 1] > 0.99

    async def test_options_reach_the_service(self, service: Service) -> None:
        async with connect(service.url) as client:
            await client.speak("x", voice="v", language="en", speed=1.5, seed=3, context="before").wait()
            (opened,) = service.of(Open)
            assert (opened.voice, opened.language, opened.speed, opened.seed, opened.context) == ("v", "en", 1.5, 3, "before")

    @pytest.mark.parametrize("budget", ["ivr", BudgetProfile.IVR, BudgetChoice(BudgetProfile.IVR)])
    async def test_a_budget_may_be_a_profile(self, service: Service, budget: Any) -> None:
        async with connect(service.url) as client:
            await client.speak("x", budget=budget).wait()
            (opened,) = service.of(Open)
            assert opened.budget == BudgetChoice(BudgetProfile.IVR)

    @pytest.mark.parametrize(("budget", "said"), [("phone", "browser, chatbot"), (800, "not 800")])
    async def test_a_budget_that_is_none_is_told_at_once(self, service: Service, budget: Any, said: str) -> None:
        async with connect(service.url) as client:
            with pytest.raises(BadOption, match=said):
                client.speak("x", budget=budget)

    async def test_many_at_once_do_not_mix(self, service: Service) -> None:
        service.limits = Limits(max_open_utterances=20)
        async with connect(service.url) as client:
            texts = [f"number {n} speaks of {n} things" for n in range(20)]
            sounds = await asyncio.gather(*(listen(client.speak(written(text))) for text in texts))
            assert [service.read_back(sound) for sound in sounds] == texts
            assert service.connections == 1

    async def test_flush_is_answered(self, service: Service) -> None:
        flushed = asyncio.Event()
        seen: list[Any] = []

        def note(event: Any) -> None:
            seen.append(event)
            if isinstance(event, Flushed):
                flushed.set()

        async def words() -> AsyncIterator[str]:
            yield "one two"
            utterance.flush("now")
            await flushed.wait()
            yield " three"

        async with connect(service.url) as client:
            utterance = client.speak(words(), Manner(on_event=note))
            assert service.read_back(await listen(utterance)) == "one two three"
        assert [e.flush_id for e in seen if isinstance(e, Flushed)] == ["now"]
        assert list(utterance.events) == seen
        kinds = [type(event) for event in seen]
        assert kinds[0] is Opened and kinds[-1] is Done and SegmentStarted in kinds

    async def test_a_writer_who_rests_too_long_goes_on_later(self, service: Service) -> None:
        go_on = asyncio.Event()

        async def slowly() -> AsyncIterator[str]:
            yield "one two "
            await go_on.wait()
            yield "three"

        async with connect(service.url) as client:
            utterance = client.speak(slowly(), context="Now: ")
            await until(lambda: utterance.audio_s > 0)
            name, talk = service.of(Open)[0].utterance, service.talks[0]
            await talk.speak_words(name, keep=0)
            await talk.send(Done(name, Usage(8)))  # the service took the silence for the end
            await client.ping()
            assert not utterance.is_over
            go_on.set()
            assert service.read_back(await listen(utterance)) == "one two three"
            assert [event.context for event in service.of(Open)] == ["Now: ", "Now: one two "]
            assert isinstance(utterance.result, Done) and utterance.result.usage.characters == 13

    async def test_a_writer_who_rests_and_then_ends(self, service: Service) -> None:
        go_on = asyncio.Event()

        async def slowly() -> AsyncIterator[str]:
            yield "one "
            await go_on.wait()

        async with connect(service.url) as client:
            utterance = client.speak(slowly())
            await until(lambda: service.of(AppendText))
            name, talk = service.of(Open)[0].utterance, service.talks[0]
            await talk.speak_words(name, keep=0)
            await talk.send(Done(name, Usage(4)))
            await client.ping()
            go_on.set()
            done = await utterance.wait()
            assert isinstance(done, Done) and done.usage.characters == 4
            assert len(service.of(Open)) == 1

    async def test_long_text_waits_for_answers(self, service: Service) -> None:
        async with connect(service.url) as client:
            await client.speak("x" * 3500).wait()
            assert [len(event.text) for event in service.of(AppendText)] == [1000, 1000, 1000, 500]
            assert len(service.of(Ping)) == 3

    async def test_a_source_that_fails_fails_the_utterance_only(self, service: Service) -> None:
        async def broken() -> AsyncIterator[str]:
            yield "one "
            raise LookupError("the model is gone")

        async with connect(service.url) as client:
            with pytest.raises(LookupError, match="the model is gone"):
                await client.speak(broken()).wait()
            assert service.read_back(await listen(client.speak("two"))) == "two"

    async def test_a_failed_source_is_cancelled_at_the_service(self, service: Service) -> None:
        async def broken() -> AsyncIterator[str]:
            yield "one "
            raise LookupError("gone")

        async with connect(service.url) as client:
            utterance = client.speak(broken())
            with pytest.raises(LookupError):
                await utterance.wait()
            await client.ping()
            assert [event.utterance for event in service.of(Cancel)] == [open_.utterance for open_ in service.of(Open)]

    async def test_repr_tells_the_state(self, service: Service) -> None:
        client = connect(service.url)
        assert "closed" in repr(client)
        async with client:
            assert "connected, 0 utterances" in repr(client)
            utterance = client.speak("one two")
            assert repr(utterance) == "<Utterance (unsent) open, 0 characters, 0.00 s>"
            await utterance.wait()
            assert "Done, 7 characters, 0.07 s" in repr(utterance)


class TestCancelling:
    async def test_cancel_ends_the_sound_at_once_and_tells_what_was_heard(self, service: Service) -> None:
        service.is_mute = True
        async with connect(service.url) as client:
            utterance = client.speak("one two three")
            await client.ping()
            assert await utterance.cancel() == Cancelled(service.of(Open)[0].utterance, 1, 10.0)
            assert [piece async for piece in utterance] == []
            assert await utterance.cancel() == utterance.result
            assert len(service.of(Cancel)) == 1

    async def test_leaving_the_block_cancels(self, service: Service) -> None:
        service.is_mute = True
        async with connect(service.url) as client:
            async with client.speak("one two three"):
                await client.ping()
            assert len(service.of(Cancel)) == 1

    async def test_closing_the_client_cancels(self, service: Service) -> None:
        service.is_mute = True
        async with connect(service.url) as client:
            utterance = client.speak("one two three")
            await client.ping()
        assert isinstance(utterance.result, Cancelled)
        with pytest.raises(ConnectionLost):
            client.speak("more")

    async def test_cancel_before_anything_was_sent(self, service: Service) -> None:
        async with connect(service.url) as client:
            utterance = client.speak("one")
            assert isinstance(await utterance.cancel(), Cancelled)
            await client.ping()
            assert service.of(Open) == []

    async def test_cancel_after_the_end_keeps_the_end(self, service: Service) -> None:
        async with connect(service.url) as client:
            utterance = client.speak("one")
            done = await utterance.wait()
            assert await utterance.cancel() is done

    async def test_a_service_that_does_not_answer_a_cancel(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("realtime_client.utterance.CANCEL_S", 0.01)
        service.is_mute = True
        async with connect(service.url) as client:
            utterance = client.speak("one two")
            await client.ping()
            service.is_deaf = True
            ended = await utterance.cancel()
            assert isinstance(ended, Cancelled) and ended.heard_characters == 0

    async def test_an_utterance_that_fails_while_it_is_cancelled(self, service: Service) -> None:
        service.is_mute = True
        async with connect(service.url) as client:
            utterance = client.speak("one two")
            await client.ping()

            async def fail(event: Any) -> None:
                raise EngineFailed("boom", utterance=event.utterance)

            service.talks[0].handle = fail
            assert await utterance.cancel() is None
            with pytest.raises(EngineFailed):
                await utterance.wait()

    async def test_neighbours_go_on(self, service: Service) -> None:
        async with connect(service.url) as client:
            keep, drop = client.speak(written(TEXT)), client.speak(written(TEXT))
            await drop.cancel()
            assert service.read_back(await listen(keep)) == TEXT


class TestErrors:
    @pytest.mark.parametrize(
        "error",
        [UnknownVoice("no such voice"), Overloaded("full", retry_after_ms=1500), EngineFailed("boom"), BadOption("speed")],
        ids=lambda error: error.code,
    )
    async def test_a_refusal_is_a_typed_error(self, service: Service, error: RealtimeError) -> None:
        async def refuse(talk: Any, event: Open) -> RealtimeError:
            return error

        service.on_open = refuse
        async with connect(service.url) as client:
            utterance = client.speak(written(TEXT))
            with pytest.raises(type(error)) as raised:
                await utterance.wait()
            assert (raised.value.message, raised.value.retry_after_ms) == (error.message, error.retry_after_ms)
            with pytest.raises(type(error)):
                async for _ in utterance:
                    pass
            assert await utterance.cancel() is None
            service.on_open = None
            assert service.read_back(await listen(client.speak("fine"))) == "fine"

    async def test_more_text_than_an_utterance_may_have(self, service: Service) -> None:
        service.limits = Limits(max_utterance_chars=5)
        async with connect(service.url) as client:
            with pytest.raises(BadText, match="exceeds 5 characters"):
                await client.speak(["12345", "6"]).wait()
            await client.ping()
            assert len(service.of(Cancel)) == 1

    def test_codes_of_newer_services_are_still_errors(self) -> None:
        assert type(error_from(Error("coffee", "none left", retryable=True))) is ServiceError
        assert type(error_from(Error("coffee", "none left"))) is RealtimeError

    async def test_a_service_that_breaks_the_protocol(self, service: Service) -> None:
        async def stumble(talk: Any, event: Open) -> None:
            await talk.socket.send(talk.dialect.encode(Done("nobody", Usage())))

        service.on_open = stumble
        async with connect(service.url) as client:
            with pytest.raises(ProtocolViolation):
                await client.speak("x").wait()
            service.on_open = None
            await until(lambda: client.link is not None)
            assert service.read_back(await listen(client.speak("fine"))) == "fine"

    async def test_an_error_about_the_connection_is_logged(self, service: Service, caplog: pytest.LogCaptureFixture) -> None:
        async with connect(service.url) as client:
            await service.talks[0].send(Error("protocol_violation", "what was that"))
            await client.ping()
        assert "what was that" in caplog.text


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something is so; the test's time limit ends it otherwise."""
    while not condition():
        await asyncio.sleep(0.005)


class TestBackpressure:
    async def test_paused_text_waits_and_so_does_its_source(self, service: Service) -> None:
        taken = 0

        async def much() -> AsyncIterator[str]:
            nonlocal taken
            for _ in range(50):
                taken += 1
                yield "x" * 1000

        service.is_mute = True
        service.pauses = True
        async with connect(service.url) as client:
            utterance = client.speak(much())
            await until(lambda: any(isinstance(event, TextPaused) for event in utterance.events))
            for _ in range(3):
                await client.ping()
            sent = sum(len(event.text) for event in service.of(AppendText))
            assert taken <= sent / 1000 + MAX_UNSENT_CHARS / 1000 + 1
            assert service.of(End) == []
            await service.talks[0].send(TextResumed(service.of(Open)[0].utterance))
            await until(lambda: service.of(End))
            assert sum(len(event.text) for event in service.of(AppendText)) == 50_000

    async def test_a_listener_who_does_not_take_sound_stops_the_reading(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("realtime_client.utterance.Inbox", lambda codec: Inbox(codec, max_held_bytes=1000))

        async with connect(service.url) as client:
            utterance = client.speak(TEXT)
            await until(lambda: utterance.audio_s > 0)
            assert utterance.audio_s < 0.1
            assert service.read_back(await listen(utterance)) == TEXT


class TestMarks:
    async def test_marks_go_by_the_clock(self, service: Service) -> None:
        async with connect(service.url) as client:
            service.is_mute = False
            utterance = client.speak(open_ended())
            await until(lambda: len(service.of(Played)) >= 2)
            marks = [event.sample for event in service.of(Played)]
            assert marks == sorted(marks) and marks[-1] <= utterance.audio_s * 24000
            await utterance.cancel()

    async def test_a_player_is_asked_for_its_position(self, service: Service) -> None:
        async with connect(service.url) as client:
            utterance = client.speak(open_ended(), Manner(position=lambda: 17))
            await until(lambda: service.of(Played))
            assert service.of(Played)[0].sample == 17
            assert utterance.played_samples == 17
            await utterance.cancel()

    async def test_played_by_hand_replaces_the_clock(self, service: Service) -> None:
        async with connect(service.url) as client:
            utterance = client.speak(open_ended())
            await until(lambda: utterance.audio_s > 0)
            await utterance.played(10**6)
            await utterance.played(47)  # going back is not news
            await utterance.tick()
            await client.ping()
            marks = [event.sample for event in service.of(Played)]
            assert marks[-1] == 10**6 and 47 not in marks
            await utterance.cancel()


async def open_ended() -> AsyncIterator[str]:
    yield TEXT
    await asyncio.Event().wait()


class TestLostConnections:
    @pytest.mark.parametrize("cut_at", [0, 1, 100, 240 * 5, 240 * 17 + 7, 240 * 40, 240 * 64 + 239])
    async def test_nothing_is_lost_and_no_word_said_twice(self, service: Service, cut_at: int) -> None:
        service.cut_at = [cut_at]
        async with connect(service.url) as client:
            utterance = client.speak(written(TEXT))
            sound = await listen(utterance)
            assert letters_in(service, sound) == LETTERS
            assert service.connections == 2
            assert isinstance(utterance.result, Done) and utterance.result.usage.characters == len(TEXT)

    async def test_again_and_again(self, service: Service) -> None:
        service.cut_at = [3000, 500, 2000, 1, 2500]
        async with connect(service.url) as client:
            utterance = client.speak(TEXT)
            assert letters_in(service, await listen(utterance)) == LETTERS
            assert service.connections == 6
            assert [utterance.text[w.start_char : w.end_char] for w in utterance.words] == TEXT.split()

    async def test_what_was_heard_is_told_as_context(self, service: Service) -> None:
        service.cut_at = [240 * 10]
        async with connect(service.url) as client:
            await client.speak(TEXT, context="Before. ").wait()
            first, second = service.of(Open)
            assert first.context == "Before. "
            assert second.context == "Before. one two "
            assert second.utterance != first.utterance

    async def test_context_keeps_to_the_limit(self, service: Service) -> None:
        service.limits = Limits(max_context_chars=4)
        service.cut_at = [240 * 10]
        async with connect(service.url) as client:
            await client.speak(TEXT).wait()
            assert service.of(Open)[1].context == "two "

    async def test_other_utterances_resume_too(self, service: Service) -> None:
        service.cut_at = [240 * 50]
        async with connect(service.url) as client:
            sounds = await asyncio.gather(*(listen(client.speak(written(TEXT))) for _ in range(4)))
            assert [letters_in(service, sound) for sound in sounds] == [LETTERS] * 4

    async def test_what_was_whole_is_not_asked_for_again(self, service: Service) -> None:
        service.drops_done = True
        async with connect(service.url) as client:
            utterance = client.speak(TEXT)
            assert service.read_back(await listen(utterance)) == TEXT
            assert isinstance(utterance.result, Done)
            assert utterance.result.usage.characters == len(TEXT)
            assert len(service.of(Open)) == 1

    async def test_the_reason_of_a_close_is_logged(self, service: Service, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "realtime_client")
        async with connect(service.url):
            await service.talks[0].socket.close(1012, "maintenance")
            await until(lambda: service.connections == 2)
        assert "the service closed the connection (1012: maintenance); dialling again" in caplog.text

    async def test_a_restarted_service_is_found(self, service: Service, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "realtime_client")
        async with connect(service.url) as client:
            utterance = client.speak(open_ended())
            await until(lambda: utterance.audio_s > 0)
            await service.stop()
            await until(lambda: client.link is None)
            assert "reconnecting" in repr(client)
            await until(lambda: "dialling again within" in caplog.text)
            await service.start()
            await until(lambda: len(service.of(Open)) == 2)
            await utterance.cancel()

    async def test_patience_ends(self, service: Service) -> None:
        async with connect(service.url) as client:
            utterance = client.speak(open_ended(), Manner(patience_s=0.05))
            await until(lambda: utterance.audio_s > 0)
            await utterance.played(240 * 7)
            await service.stop()
            with pytest.raises(ConnectionLost, match="did not come back within") as raised:
                await utterance.wait()
            assert (raised.value.heard_characters, raised.value.heard_ms) == (7, 70.0)

    async def test_cancel_while_there_is_no_connection(self, service: Service) -> None:
        async with connect(service.url) as client:
            utterance = client.speak(open_ended())
            await until(lambda: utterance.audio_s > 0)
            await utterance.played(240 * 3)
            await service.stop()
            await until(lambda: client.link is None)
            ended = await utterance.cancel()
            assert isinstance(ended, Cancelled) and (ended.heard_characters, ended.heard_ms) == (3, 30.0)

    async def test_a_connection_lost_during_a_cancel(self, service: Service) -> None:
        async with connect(service.url) as client:
            utterance = client.speak(open_ended())
            await until(lambda: utterance.audio_s > 0)

            async def drop(event: Any) -> None:
                service.talks[0].socket.transport.abort()

            service.talks[0].handle = drop
            assert isinstance(await utterance.cancel(), Cancelled)

    async def test_streams_with_packets_can_not_go_on(self, service: Service) -> None:
        service.cut_at = [2400]
        async with connect(service.url) as client:
            utterance = client.speak(TEXT, Manner(decode=False), format=AudioFormat(Codec.MP3))
            with pytest.raises(ConnectionLost, match="mp3 can't be resumed"):
                await utterance.wait()

    @pytest.mark.parametrize("refusal", [Overloaded("full", retry_after_ms=1), UnknownVoice("no engine is warm yet", retry_after_ms=1)])
    async def test_a_service_that_is_not_ready_is_asked_again_for_the_rest(self, service: Service, refusal: RealtimeError) -> None:
        refusals = [refusal, refusal]

        async def busy(talk: Any, event: Open) -> RealtimeError | None:
            return refusals.pop() if service.connections > 1 and refusals else None

        service.on_open = busy
        service.cut_at = [3000]
        async with connect(service.url) as client:
            assert letters_in(service, await listen(client.speak(TEXT))) == LETTERS
            assert len(service.of(Open)) == 4

    async def test_a_service_that_stays_busy_is_the_error_in_the_end(self, service: Service) -> None:
        async def busy(talk: Any, event: Open) -> RealtimeError | None:
            return Overloaded("full", retry_after_ms=10) if service.connections > 1 else None

        service.on_open = busy
        service.cut_at = [3000]
        async with connect(service.url) as client:
            with pytest.raises(Overloaded, match="full"):
                await client.speak(TEXT, Manner(patience_s=0.3)).wait()

    async def test_a_revoked_key_ends_everything(self, service: Service) -> None:
        async with connect(service.url) as client:
            utterance = client.speak(open_ended())
            await until(lambda: utterance.audio_s > 0)
            service.deny = service.denial(HTTPStatus.UNAUTHORIZED, {"error": {"code": "unauthorized", "message": "revoked"}})
            service.talks[0].socket.transport.abort()
            with pytest.raises(Unauthorized, match="revoked"):
                await utterance.wait()
            with pytest.raises(Unauthorized):
                client.speak("more")

    async def test_ping_needs_a_connection(self, service: Service) -> None:
        async with connect(service.url) as client:
            assert await client.ping() >= 0
            service.talks[0].handle = never
            waiting = asyncio.create_task(client.ping())
            await asyncio.sleep(0)
            service.talks[0].socket.transport.abort()
            with pytest.raises(ConnectionLost):
                await waiting
            with pytest.raises(ConnectionLost):
                await client.ping()


async def never(event: Any) -> None:
    return


def letters_in(service: Service, sound: bytes) -> str:
    """What sounds but the gaps, which a cut may shorten: each letter for its whole time."""
    samples = np.frombuffer(sound, "<i2")
    return str(service.read_back(samples[samples != ord(" ")].tobytes()))


LETTERS = TEXT.replace(" ", "")


class TestConnecting:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("ws://h:1", "ws://h:1/v1/stream"),
            ("h:7860", "ws://h:7860/v1/stream"),
            ("http://h/", "ws://h/v1/stream"),
            ("https://h/x?token=t", "wss://h/x?token=t"),
            ("wss://h/v1/stream", "wss://h/v1/stream"),
        ],
    )
    def test_urls(self, url: str, expected: str) -> None:
        assert stream_url(url) == expected

    @pytest.mark.parametrize("url", ["ftp://h", "", "ws://", "http:///x"])
    def test_what_is_no_url(self, url: str) -> None:
        with pytest.raises(BadOption, match="names no service"):
            connect(url)

    @pytest.mark.parametrize(
        ("status", "body", "kind", "says"),
        [
            (401, {"error": {"code": "unauthorized", "message": "send a key"}}, Unauthorized, "send a key"),
            (403, "no", Unauthorized, "403"),
            (503, {"error": {"code": "overloaded", "message": "full", "retry_after_ms": 900}}, Overloaded, "full"),
            (503, {"message": "proxy says no", "retry_after_ms": "soon"}, Overloaded, "proxy says no"),
            (404, "[]", ConnectionLost, "404"),
        ],
    )
    async def test_refused_upgrades(self, service: Service, status: int, body: Any, kind: type[RealtimeError], says: str) -> None:
        service.deny = service.denial(HTTPStatus(status), body)
        with pytest.raises(kind, match=says) as raised:
            await connect(service.url).start()
        assert raised.value.retry_after_ms == (900 if says == "full" else None)

    async def test_nobody_there(self, service: Service) -> None:
        await service.stop()
        with pytest.raises(ConnectionLost, match="is `realtime serve` running"):
            await connect(service.url).start()

    async def test_something_else_there(self) -> None:
        async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example ESMTP\r\n")
            writer.close()

        server = await asyncio.start_server(babble, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ConnectionLost, match="does not speak this protocol"):
                await connect(f"127.0.0.1:{port}").start()

    async def test_a_websocket_of_somebody_else(self) -> None:
        async with serve(never, "127.0.0.1", 0) as server:
            with pytest.raises(ConnectionLost, match="took none of our subprotocols"):
                await connect(f"127.0.0.1:{server.sockets[0].getsockname()[1]}").start()

    async def test_something_that_says_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        held: list[asyncio.StreamWriter] = []

        async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            held.append(writer)

        server = await asyncio.start_server(mute, "127.0.0.1", 0)
        async with server:
            url = stream_url(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
            with pytest.raises(ConnectionLost, match=r"did not answer within 0\.05 s"):
                await Link.dial(url, api_key=None, subprotocol="realtime.v1.json", open_s=0.05)
            for writer in held:
                writer.close()

    async def test_an_error_instead_of_a_greeting(self, service: Service) -> None:
        service.greeting = Error("draining", "come back later", True, 2000)
        with pytest.raises(Draining, match="come back later") as raised:
            await connect(service.url).start()
        assert raised.value.retry_after_ms == 2000

    async def test_the_key_is_sent_as_a_bearer(self, service: Service) -> None:
        async with connect(service.url, api_key="secret"):
            assert service.talks[0].socket.request.headers["Authorization"] == "Bearer secret"

    async def test_ready_tells_what_is_on_offer(self, service: Service) -> None:
        async with connect(service.url) as client:
            assert isinstance(client, Client) and client.ready == Ready("fake")


async def test_switches_are_counted_and_engines_told_apart(service: Service) -> None:
    async def half(talk: Any, event: Open) -> None:
        async def handle(inner: Any) -> None:
            if isinstance(inner, AppendText):
                name = inner.utterance
                await talk.send(Audio(name, 0, 0, 2, "a", b"\0" * 4))
                await talk.send(Switch(name, "a", "b", "stalled", 1, 2))
                await talk.send(Audio(name, 1, 2, 4, "b", b"\0" * 8))
            elif not isinstance(inner, Open):
                await original(inner)

        original, talk.handle = talk.handle, handle

    service.on_open = half
    async with connect(service.url) as client:
        utterance = client.speak("xy")
        await utterance.wait()
        assert utterance.switches == 1
        assert utterance.audio_s_by_engine == {"a": 2 / 24000, "b": 4 / 24000}
