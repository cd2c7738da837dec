"""G.711 against the Recommendation's own numbers: the segment ends and step sizes of its tables 1 and 2."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from realtime.audio import g711

EVERY = np.arange(-32768, 32768).astype(np.int16)


def mulaw_table() -> tuple[list[int], list[int]]:
    """Decision values and outputs of table 2 for positive input, on the 14-bit scale: 8 segments, steps 2 (first 1), 4, ... 256."""
    decisions, outputs = [0, *range(1, 32, 2)], list(range(0, 31, 2))
    for segment in range(1, 8):
        step = 2 << segment
        low = decisions[-1]
        decisions += [low + step * n for n in range(1, 17)]
        outputs += [low + step * n + step // 2 for n in range(16)]
    return decisions, outputs


def alaw_table() -> tuple[list[int], list[int]]:
    """Decision values and outputs of table 1 for positive input, on the 13-bit scale: steps 2, 2, 4, ... 128."""
    decisions, outputs = [0], []
    for segment in range(8):
        step = 2 << max(0, segment - 1)
        low = decisions[-1]
        decisions += [low + step * n for n in range(1, 17)]
        outputs += [low + step * n + step // 2 for n in range(16)]
    return decisions, outputs


@pytest.mark.parametrize(
    ("table", "encoded", "decoded", "scale", "end"),
    [
        (mulaw_table(), g711.MULAW_ENCODE, g711.MULAW_DECODE, 4, 8159),
        (alaw_table(), g711.ALAW_ENCODE, g711.ALAW_DECODE, 8, 4096),
    ],
    ids=["mulaw", "alaw"],
)
def test_every_positive_value_falls_between_its_decision_values(
    table: tuple[list[int], list[int]], encoded: g711.Codes, decoded: np.ndarray, scale: int, end: int
) -> None:
    decisions, outputs = table
    assert decisions[-1] == end  # the tables' last row, so the numbers above are the Recommendation's
    positive = np.arange(0, 32768)
    interval = np.minimum(np.searchsorted(np.array(decisions) * scale, positive, side="right") - 1, 127)
    expected = np.array(outputs)[interval] * scale
    assert np.array_equal(decoded[encoded[positive]].astype(int), expected)


@pytest.mark.parametrize(("encoded", "decoded"), [(g711.MULAW_ENCODE, g711.MULAW_DECODE), (g711.ALAW_ENCODE, g711.ALAW_DECODE)])
def test_negative_values_mirror_the_positive_ones(encoded: g711.Codes, decoded: np.ndarray) -> None:
    positive = np.arange(0, 32768).astype(np.int16)
    mirrored = (~positive).view(np.uint16)  # one's complement, as the ITU-T G.191 tools take the magnitude
    assert np.array_equal(encoded[mirrored], encoded[positive.view(np.uint16)] ^ 0x80)
    assert np.array_equal(decoded[encoded[mirrored]], -decoded[encoded[positive.view(np.uint16)]])


def test_the_character_signals_of_the_recommendation() -> None:
    mulaw = {0: 0xFF, 32767: 0x80, -32768: 0x00, -1: 0x7F}  # G.711 table 2 with the sign bit, inverted
    alaw = {0: 0xD5, 32767: 0xAA, -32768: 0x2A, -1: 0x55}  # G.711 table 1, even bits inverted
    for table, expected in ((g711.MULAW_ENCODE, mulaw), (g711.ALAW_ENCODE, alaw)):
        for value, code in expected.items():
            assert g711.compress(np.array([value], np.int16), table) == bytes([code])


@pytest.mark.parametrize(("encoded", "decoded"), [(g711.MULAW_ENCODE, g711.MULAW_DECODE), (g711.ALAW_ENCODE, g711.ALAW_DECODE)])
def test_codes_survive_a_second_pass(encoded: g711.Codes, decoded: np.ndarray) -> None:
    once = g711.expand(bytes(range(256)), decoded)
    assert np.array_equal(g711.expand(g711.compress(once, encoded), decoded), once)


@pytest.mark.skipif(shutil.which("sox") is None, reason="no sox on this machine to compare with")
@pytest.mark.parametrize(
    ("name", "encoded", "decoded"), [("mu-law", g711.MULAW_ENCODE, g711.MULAW_DECODE), ("a-law", g711.ALAW_ENCODE, g711.ALAW_DECODE)]
)
def test_sox_expands_to_the_same_values(name: str, encoded: g711.Codes, decoded: np.ndarray) -> None:
    raw = ["-t", "raw", "-r", "8000", "-c", "1"]
    command = ["sox", "-V1", "-D", *raw, "-e", name, "-b", "8", "-", *raw, "-e", "signed", "-b", "16", "-"]
    done = subprocess.run(command, input=g711.compress(EVERY, encoded), capture_output=True, timeout=20, check=True)
    assert np.array_equal(np.frombuffer(done.stdout, "<i2"), decoded[encoded[EVERY.view(np.uint16)]])
