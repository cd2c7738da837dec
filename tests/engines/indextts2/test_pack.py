"""Voice packs: what is written comes back, emotions mix as the specification says, damaged files are named."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from realtime.engines.indextts2 import emotion as emotions
from realtime.engines.indextts2 import voice_pack
from realtime.engines.indextts2.voice_pack import About, EmotionState, VoicePack
from realtime.errors import BadOption, ModelMissing
from realtime.types import Emotion

SIZES = {"latents": 4, "dim": 12, "style": 6, "mels": 8, "content": 10, "frames": 9}


@pytest.fixture
def pack() -> VoicePack:
    plain = voice_pack.random_pack("lin", **SIZES)
    keys = np.random.default_rng(1).standard_normal((2, 3, 6, 4), dtype=np.float32)
    states = {**plain.emotions, "warm": EmotionState(np.ones(12, dtype=np.float32), keys, -keys)}
    about = About("lin", "r1", ("zh",), "a test", "female", {"sambert": "zhitian", "espeak": "cmn"}, "the speaker agreed", {"seconds": 3})
    return replace(plain, about=about, emotions=states)


def test_a_pack_comes_back_as_it_was_written(pack: VoicePack, tmp_path: Path) -> None:
    path = voice_pack.path_in(tmp_path, "lin")
    voice_pack.write(pack, path)
    back = voice_pack.read(path)
    assert back.about == pack.about
    assert back.info() == pack.info()
    assert back.info().stand_ins == {"sambert": "zhitian", "espeak": "cmn"}
    assert set(back._tensors()) == set(pack._tensors())
    for name, tensor in pack._tensors().items():
        np.testing.assert_array_equal(back._tensors()[name], tensor)
    assert list(tmp_path.iterdir()) == [path]


def test_the_default_emotion_is_the_speakers_own(pack: VoicePack) -> None:
    rows = pack.conditions().rows
    np.testing.assert_allclose(rows[:4], pack.speaker_latents + pack.emotions["default"].vector)
    np.testing.assert_array_equal(rows[4:], pack.speed_rows)


def test_strength_moves_from_the_speakers_emotion_to_the_enrolled_one(pack: VoicePack) -> None:
    base, warm = pack.emotions["default"].vector, pack.emotions["warm"].vector
    half = pack.conditions(Emotion("warm", strength=0.5))
    np.testing.assert_allclose(half.rows[:4], pack.speaker_latents + (base + warm) / 2, rtol=1e-6)
    assert half.keys is None  # the cache is of the full strength only
    assert pack.conditions(Emotion("warm")).keys is pack.emotions["warm"].keys


def test_weights_leave_the_rest_to_the_speaker(pack: VoicePack) -> None:
    assert pack.emotion_rows is not None
    weights = (0.5, 0, 0, 0, 0, 0, 0.25, 0)
    expected = 0.5 * pack.emotion_rows[0] + 0.25 * pack.emotion_rows[6] + 0.25 * pack.emotions["default"].vector
    np.testing.assert_allclose(pack.conditions(Emotion(vector=weights)).rows[:4], pack.speaker_latents + expected, rtol=1e-5, atol=1e-6)


def test_the_eight_names_stand_for_tamed_weights(pack: VoicePack) -> None:
    by_name = pack.conditions(Emotion("happy", strength=0.5)).rows
    tamed = emotions.balanced((1, 0, 0, 0, 0, 0, 0, 0))
    assert tamed[0] == pytest.approx(0.8)
    np.testing.assert_array_equal(by_name, pack.conditions(Emotion(vector=tamed, strength=0.5)).rows)


@pytest.mark.parametrize(
    "asked",
    [
        Emotion("nobody"),
        Emotion("warm", strength=1.5),
        Emotion("warm", strength=float("nan")),
        Emotion(vector=(1.0, 0.0)),
        Emotion(vector=(float("nan"),) * 8),
        Emotion(vector=(-0.1, *[0.0] * 7)),
    ],
)
def test_what_a_voice_has_not_is_refused(pack: VoicePack, asked: Emotion) -> None:
    with pytest.raises(BadOption):
        pack.conditions(asked)


def test_weights_need_the_emotion_matrix(pack: VoicePack) -> None:
    bare = replace(pack, emotion_rows=None)
    assert bare.emotion_names() == ("default", "warm")
    with pytest.raises(BadOption, match="without the emotion matrix"):
        bare.conditions(Emotion(vector=(0.1,) * 8))


def test_a_cap_cuts_mel_and_condition_at_the_same_frame(pack: VoicePack) -> None:
    short = pack.capped(5)
    assert short.prompt_frames == 5
    np.testing.assert_array_equal(short.ref_mel, pack.ref_mel[:, :5])
    np.testing.assert_array_equal(short.prompt_condition, pack.prompt_condition[:5])
    assert pack.capped(1000) is pack


def test_a_pack_of_other_weights_is_refused(pack: VoicePack) -> None:
    pack.require("r1", 12, 6, 10)
    pack.require("", 12, 6, 10)
    with pytest.raises(ModelMissing, match="revision r1"):
        pack.require("r2", 12, 6, 10)
    with pytest.raises(ModelMissing, match="enrolled with other weights"):
        pack.require("r1", 16, 6, 10)


def test_damaged_files_are_named(pack: VoicePack, tmp_path: Path) -> None:
    path = voice_pack.path_in(tmp_path, "lin")
    with pytest.raises(ModelMissing, match=r"lin\.voice"):
        voice_pack.read(path)
    voice_pack.write(pack, path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelMissing, match=r"lin\.voice"):
        voice_pack.read(path)


def test_a_pack_with_a_value_that_is_no_number_is_refused(pack: VoicePack) -> None:
    style = pack.style.copy()
    style[2] = np.nan
    with pytest.raises(ValueError, match="style holds values"):
        replace(pack, style=style)


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("prompt_condition", np.zeros((3, 10), dtype=np.float32), "3 frames"),
        ("speed_rows", np.zeros((2, 5), dtype=np.float32), "speed_rows"),
        ("emotions", {}, "default"),
        ("style", np.zeros((1, 6), dtype=np.float32), "style"),
        ("emotion_rows", np.zeros((7, 12), dtype=np.float32), "emotion_rows"),
        ("emotions", {"default": EmotionState(np.zeros(12, dtype=np.float32), np.zeros((2, 3, 6, 4), dtype=np.float32))}, "cached keys"),
    ],
)
def test_parts_that_do_not_fit_are_refused(pack: VoicePack, part: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(pack, **{part: value})


@pytest.mark.parametrize("name", ["", "../lin", "a/b", "x" * 65, "white space"])
def test_names_that_are_no_plain_word_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadOption):
        voice_pack.path_in(tmp_path, name)


def test_a_folder_is_read_by_name_and_an_absent_one_is_empty(pack: VoicePack, tmp_path: Path) -> None:
    for name in ("lin", "王"):
        voice_pack.write(replace(pack, about=replace(pack.about, name=name)), voice_pack.path_in(tmp_path, name))
    assert set(voice_pack.read_folder(tmp_path)) == {"lin", "王"}
    assert voice_pack.read_folder(tmp_path / "absent") == {}


def test_a_broken_pack_does_not_take_the_others_out_of_service(pack: VoicePack, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    voice_pack.write(pack, voice_pack.path_in(tmp_path, "lin"))
    voice_pack.path_in(tmp_path, "old").write_bytes(b"half a file")
    assert set(voice_pack.read_folder(tmp_path)) == {"lin"}
    assert "old.voice.safetensors" in caplog.text


def test_a_copied_file_is_a_second_voice(pack: VoicePack, tmp_path: Path) -> None:
    first, second = (voice_pack.path_in(tmp_path, name) for name in ("lin", "mei"))
    voice_pack.write(pack, first)
    second.write_bytes(first.read_bytes())
    assert {name: p.info().id for name, p in voice_pack.read_folder(tmp_path).items()} == {"lin": "lin", "mei": "mei"}


SAID = ["", "null", "[1]", "{}", '{"format": 1}', '{"format": 1, "z": 2}']
TENSORS = ["style", "emotion.default.vector", "emotion.x", "emotion.a.b.keys", "speaker_latents", "ref_mel", "odd"]
ARRAYS = [np.zeros(3, np.float32), np.zeros((2, 3), np.int64), np.zeros((0, 0), np.float16)]


@settings(deadline=None, max_examples=80)
@given(
    metadata=st.none() | st.dictionaries(st.sampled_from(["voice", "x"]), st.sampled_from(SAID)),
    tensors=st.dictionaries(st.sampled_from(TENSORS), st.sampled_from(ARRAYS)),
)
def test_no_file_breaks_the_reader(metadata: dict[str, str] | None, tensors: dict[str, np.ndarray]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = voice_pack.path_in(Path(folder), "lin")
        path.write_bytes(save(tensors, metadata))
        with pytest.raises(ModelMissing, match=r"lin\.voice"):
            voice_pack.read(path)
