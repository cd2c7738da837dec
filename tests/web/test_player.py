"""The page in a real Chromium, against a real service: what reaches the loudspeaker is compared with what the service sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from realtime.audio.codecs import make_decoder
from realtime.engines.beacon.decoder import decode
from realtime.server.auth import KeyStore
from realtime.types import AudioFormat, Codec

TEXT = "你好，这里是网页。It speaks while 35 words come. "
LONG = "很久以前，山脚下住着一位钟表匠。他做的钟从来不会停，因为他在每一座钟里都藏了第二套齿轮。" * 2
# The jitter buffer leads the last sample to silence over 3 ms, at 48 kHz.
FADE = 144
# A machine that is busy with other things may starve the audio thread or the service; a wrong player fails every time.
ATTEMPTS = 3


def sent_pcm(messages: list[dict[str, Any]]) -> NDArray[np.float32]:
    """The service's own samples, as the page must play them."""
    payload = b"".join(message["payload"] for message in messages)
    return (np.frombuffer(payload, "<i2") / np.float32(32768)).astype(np.float32)


def is_played_whole(heard: NDArray[np.float32], sent: NDArray[np.float32]) -> bool:
    """Every sample sent, once, in order, without a single one between them."""
    loud = np.flatnonzero(heard)
    if not loud.size:
        return False
    begin = int(loud[0]) - int(np.flatnonzero(sent)[0])
    return begin >= 0 and bool(np.array_equal(heard[begin : begin + len(sent)], sent)) and not heard[begin + len(sent) :].any()


def heard_text(listener: Any, within: str = ".captions") -> str:
    return str(listener.ask(f"[...document.querySelectorAll('{within} .heard')].map(e => e.textContent).join('')"))


def with_attempts(attempt: Callable[[], bool], why: Callable[[], str]) -> None:
    for _ in range(ATTEMPTS):
        if attempt():
            return
    pytest.fail(why())


def test_every_sample_is_heard_once_without_a_gap(service: Any, open_page: Any) -> None:
    def attempt() -> bool:
        listener = open_page(service.url)
        assert listener.ask("witness.contexts.length") == 0, "no audio before a click"
        listener.write(TEXT)
        listener.page.click("#speak")
        listener.wait_over()
        assert listener.ask("witness.contexts[0].state") == "running"
        assert listener.problems == []
        assert heard_text(listener) == TEXT
        assert listener.text("#ttfa").endswith(" ms")
        state["underruns"] = listener.text("#underruns")
        sent = sent_pcm(listener.audio())
        assert len(sent) > 24000 and np.abs(sent).max() > 0.05
        return state["underruns"] == "0" and is_played_whole(listener.heard(), sent)

    state = {"underruns": "?"}
    with_attempts(attempt, lambda: f"what was heard is not what was sent; underruns: {state['underruns']}")


def test_captions_follow_the_voice_word_by_word(service: Any, open_page: Any) -> None:
    listener = open_page(service.url)
    listener.write(TEXT)
    listener.page.click("#speak")
    words, heard = [], [""]
    while not listener.page.locator(".captions article[data-phase=over]").count():
        now = listener.ask("document.querySelector('.captions .now')?.textContent ?? ''")
        if now and now not in words:
            words.append(now)
        heard.append(heard_text(listener))
        assert TEXT.startswith(heard[-1]) and len(heard[-1]) >= len(heard[-2])
    assert len(words) >= 5
    assert len(set(heard)) >= 8
    assert all(word in TEXT for word in words)


@pytest.mark.parametrize("way", ["button", "key"])
def test_a_stop_is_silent_within_100_ms_and_leaves_the_heard_text(service: Any, open_page: Any, way: str) -> None:
    listener = open_page(service.url)
    listener.write(LONG)
    listener.page.click("#speak")
    listener.poll(lambda: listener.ask("document.querySelectorAll('.captions .heard').length"))
    if way == "button":
        listener.page.click("#stop")
    else:
        listener.page.keyboard.press("Escape")
    listener.poll(lambda: [m for m in listener.messages if m["type"] in ("cancelled", "done")])
    clicked = listener.ask("witness.clicks.at(-1)")
    listener.poll(lambda: len(listener.heard()), lambda count: count > clicked + 24000)
    last = int(np.flatnonzero(listener.heard())[-1])
    assert last > 0 and (last - clicked) / 24 < 100, "milliseconds of the audio clock between the stop and the last sound"
    (ended,) = [m for m in listener.messages if m["type"] == "cancelled"]
    heard = heard_text(listener)
    assert heard and LONG.startswith(heard) and abs(len(heard) - ended["heard_characters"]) <= 3
    assert listener.page.locator(".captions .unheard").count() > 0
    assert f"{ended['heard_characters']} of {len(LONG)}" in listener.text("#message")
    assert listener.problems == []


def test_breaking_the_engine_changes_the_voice_and_loses_no_sample(service: Any, open_page: Any) -> None:
    def attempt() -> bool:
        listener = open_page(service.url)
        listener.page.select_option("#lead-limit", "1000")
        listener.page.select_option("#fault", "exception")
        listener.write(LONG)
        listener.page.click("#speak")
        listener.page.click("#break")
        listener.page.wait_for_selector(".captions .seam", timeout=20_000)
        listener.poll(lambda: listener.text("#switches"), lambda count: int(count) > 0)
        listener.poll(
            lambda: listener.ask("document.querySelector('.engines li[data-speaking=true]')?.dataset.engine"),
            lambda name: name == "beacon2",
        )
        listener.wait_over()
        assert listener.problems == []
        switches = [m for m in listener.messages if m["type"] == "switch"]
        assert (switches[0]["from_engine"], switches[0]["to_engine"]) == ("beacon", "beacon2")
        assert {m["engine"] for m in listener.audio()} == {"beacon", "beacon2"}
        assert listener.page.locator(".captions [data-engine='1']").count() > 0
        state["underruns"] = listener.text("#underruns")
        assert decode(listener.heard(), 24000) == LONG, "every character once, across two voices"
        return state["underruns"] == "0" and is_played_whole(listener.heard(), sent_pcm(listener.audio()))

    state = {"underruns": "?"}
    with_attempts(attempt, lambda: f"the sound was not whole across the switch; underruns: {state['underruns']}")


def test_whoever_breaks_an_engine_on_a_phone_sees_what_comes_of_it(service: Any, open_page: Any) -> None:
    def is_seen(selector: str) -> bool:
        box = f"document.querySelector('{selector}').getBoundingClientRect()"
        return bool(listener.ask(f"{box}.top >= 0 && {box}.bottom <= innerHeight"))

    listener = open_page(service.url, width=390, reduced_motion="reduce")
    listener.page.select_option("#fault", "exception")
    listener.page.select_option("#lead-limit", "1000")
    listener.write(LONG)
    listener.page.click("#speak")
    listener.poll(lambda: listener.ask("!document.getElementById('break').disabled"))
    listener.page.locator("#break").scroll_into_view_if_needed()
    assert not is_seen("#message")
    listener.page.click("#break")
    listener.poll(lambda: is_seen("#message") and is_seen("#now"))
    listener.poll(lambda: listener.text("#switches"), lambda count: int(count) > 0)
    said = listener.text("#message")
    assert "beacon → beacon2: it raised an error" in said and ("without a gap" in said or "There was a gap of" in said)
    listener.page.click("#stop")
    assert listener.problems == []


def test_an_engine_too_slow_for_this_machine_is_marked(service: Any, open_page: Any) -> None:
    listener = open_page(None)

    def slower(route: Any) -> None:
        found = route.fetch()
        body = found.json()
        body["engines"][0]["too_slow_for"] = [{"profile": "ivr", "first_audio_ms": 800, "hint": "beacon is too slow: do this"}]
        route.fulfill(response=found, json=body)

    listener.page.route("**/v1/capabilities", slower)
    listener.open(service.url)
    assert listener.text(".engines li:first-child .slow") == "too slow here for: ivr"
    assert listener.page.get_attribute(".engines .slow", "title") == "beacon is too slow: do this"
    assert listener.page.locator(".engines .slow").count() == 1


def test_opus_is_decoded_to_the_same_timeline(service: Any, open_page: Any) -> None:
    def attempt() -> bool:
        listener = open_page(service.url)
        if not listener.ask("typeof AudioDecoder !== 'undefined'"):
            pytest.skip("this Chromium has no WebCodecs: the Opus path is not tested")
        listener.page.select_option("#format", "opus")
        listener.write(TEXT)
        listener.page.click("#speak")
        listener.wait_over()
        assert listener.problems == []
        packets = listener.audio()
        reference = decoded_opus([m["payload"] for m in packets])[: sum(m["samples"] for m in packets)]
        return listener.ask("witness.contexts[0].sampleRate") == 48000 and is_close(listener.heard(), reference)

    with_attempts(attempt, lambda: "what was heard is not what the packets hold")


def decoded_opus(packets: list[bytes]) -> NDArray[np.float32]:
    decoder = make_decoder(AudioFormat(Codec.OPUS, 48000))
    parts = [decoder.decode(packet) for packet in packets]
    return np.concatenate([*parts, decoder.flush()]).astype(np.float32)


def is_close(heard: NDArray[np.float32], reference: NDArray[np.float32]) -> bool:
    """Aligned to the sample and equal but for two decoders' rounding: 30 dB or more between them."""
    size = 1 << int(np.ceil(np.log2(len(heard) + len(reference))))
    match = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(reference, size)))
    begin = int(np.argmax(match))
    part = heard[begin : begin + len(reference)]
    if len(part) < len(reference):
        return False
    error = np.sum((part - reference) ** 2)
    return bool(np.sum(reference**2) > 1000 * error) and not heard[begin + len(reference) + FADE :].any()


def test_without_webcodecs_the_page_asks_for_pcm(service: Any, open_page: Any) -> None:
    listener = open_page(
        service.url, scripts=("delete window.AudioDecoder; localStorage.setItem('realtime-player', '{\"format\":\"opus\"}')",)
    )
    listener.write("好。")
    listener.page.click("#speak")
    listener.wait_over()
    (opened,) = [m for m in listener.messages if m["type"] == "opened"]
    assert opened["format"] == {"codec": "pcm_s16le", "sample_rate": 24000}
    assert listener.page.is_disabled("#format option[value=opus]")
    assert np.abs(listener.heard()).max() > 0.05


def test_sound_starts_while_the_text_is_still_being_typed(service: Any, open_page: Any) -> None:
    listener = open_page(service.url)
    listener.page.click("#tab-write")
    listener.page.check("#live")
    listener.page.focus("#text")
    listener.page.keyboard.type("Good morning. ")
    listener.poll(lambda: listener.text("#ttfa"), lambda text: text.endswith("ms"))
    listener.page.keyboard.type("And a good evening, too.")
    listener.page.keyboard.press("Control+Enter")
    listener.wait_over()
    assert heard_text(listener) == "Good morning. And a good evening, too."
    assert listener.page.input_value("#text") == ""
    assert listener.problems == []


def test_the_chatbot_is_heard_before_it_has_finished_writing(service: Any, open_page: Any) -> None:
    listener = open_page(service.url)
    listener.page.click("[data-topic=bank]")
    listener.poll(lambda: listener.text("#ttfa"), lambda text: text.endswith("ms"))
    written = len(listener.text(".captions .text"))
    listener.poll(lambda: len(listener.text(".captions .text")), lambda now: now > written)
    listener.page.keyboard.press("Escape")
    stopped = listener.text(".captions .text")
    listener.poll(lambda: listener.page.is_disabled("#stop"))
    assert listener.text(".captions .text") == stopped
    assert listener.problems == []


def test_who_interrupts_an_answer_is_heard_with_all_that_he_asks_or_types(service: Any, open_page: Any) -> None:
    listener = open_page(service.url)
    for topic in ("bank", "travel"):
        listener.page.click(f"[data-topic={topic}]")
        listener.poll(lambda: listener.text(".captions article:last-child .text"), lambda text: len(text) > 20)
        listener.poll(lambda: not listener.page.is_disabled("#stop"))
    assert listener.text(".captions article:last-child .text").startswith("Lisbon")
    listener.page.click("#tab-write")
    listener.page.check("#live")
    listener.page.focus("#text")
    listener.page.keyboard.type("Wait, please.")
    listener.page.keyboard.press("Control+Enter")
    listener.wait_over()
    assert heard_text(listener, ".captions article:last-child") == "Wait, please."
    assert listener.problems == []


def test_the_example_of_twenty_lines_speaks(service: Any, open_page: Any) -> None:
    listener = open_page(None)
    listener.page.goto(service.url + "example.html")
    listener.page.wait_for_function("document.querySelector('#state').textContent === 'ready'")
    listener.page.click("#speak")
    listener.page.wait_for_function("document.querySelector('#state').textContent === 'over'")
    assert decode(listener.heard(), 24000) == listener.page.input_value("#text")
    assert listener.problems == []


def test_the_page_speaks_the_visitors_language_and_switches(service: Any, open_page: Any) -> None:
    listener = open_page(service.url, locale="zh-CN")
    assert listener.text("#connection-text") == "已连接" and listener.ask("document.documentElement.lang") == "zh-CN"
    listener.page.click("#language-switch")
    assert listener.text("#connection-text") == "Connected" and listener.text("#stop").startswith("Stop")
    assert listener.ask("document.documentElement.lang") == "en"


def test_a_small_screen_has_no_sideways_scrolling_and_every_control_a_name(service: Any, open_page: Any) -> None:
    listener = open_page(service.url, width=360, reduced_motion="reduce", color_scheme="dark")
    assert listener.ask("document.documentElement.scrollWidth") <= 360
    nameless = "[...document.querySelectorAll('button, input, select, textarea, canvas')]" + (
        ".filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)).map(e => e.id)"
    )
    assert listener.ask(nameless) == []
    assert listener.ask("getComputedStyle(document.querySelector('.wave i')).animationName") == "none"


def test_a_small_screen_has_room_for_what_is_said_of_a_lost_connection(own_service: Any, open_page: Any) -> None:
    own_service.start()
    listener = open_page(own_service.url, width=360)
    own_service.stop()
    listener.page.wait_for_selector('[data-connection="waiting"]')
    listener.page.wait_for_selector("#retry", state="visible")
    edges = "[...document.querySelectorAll('.top > :not([hidden])')].map(e => e.getBoundingClientRect())"
    assert listener.ask(f"Math.max(...{edges}.map(r => r.right))") <= 360, "no button lies beyond the screen"
    assert listener.ask("document.querySelector('#connection').offsetHeight") < 60, "two lines at most"


def test_a_service_that_wants_a_key_gets_one(own_service: Any, open_page: Any) -> None:
    key = KeyStore(own_service.folder / "data").add("page")
    own_service.start()
    listener = open_page(None)
    listener.page.goto(own_service.url)
    listener.page.wait_for_selector('[data-connection="unauthorized"]')
    listener.page.fill("#key", "rt_wrong")
    listener.page.press("#key", "Enter")
    listener.page.wait_for_selector('[data-connection="unauthorized"]')
    listener.page.fill("#key", key)
    listener.page.press("#key", "Enter")
    listener.page.wait_for_selector('[data-connection="ready"]')
    assert not listener.page.is_visible("#key-form")
    assert listener.ask("localStorage.length") == 0, "the key is kept in this tab only"


@pytest.mark.slow
def test_speech_goes_on_after_the_service_was_away(own_service: Any, open_page: Any) -> None:
    own_service.start()
    listener = open_page(own_service.url)
    listener.page.select_option("#lead-limit", "1000")
    listener.write(LONG)
    listener.page.click("#speak")
    listener.poll(lambda: len(heard_text(listener)), lambda count: count > 8)
    own_service.stop()
    listener.page.wait_for_selector('[data-connection="waiting"]')
    assert "next attempt in" in listener.text("#connection-text")
    before = len(listener.audio())
    own_service.start()
    listener.wait_over()
    assert heard_text(listener) == LONG
    first, second = [m for m in listener.messages if m["type"] == "opened"]
    assert first["utterance"] != second["utterance"]
    assert len(listener.audio()) > before > 0
    assert decode(listener.heard(), 24000) == LONG, "every character once, though the connection broke between them"
