"""Enrolment: the pack holds what the torch modules compute, and the command makes, lists and removes packs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from realtime.engines.indextts2 import voice_pack
from realtime.engines.indextts2.checkpoint.enrol import Enrolment, enrol, prompt_window
from realtime.engines.indextts2.checkpoint.export import export
from realtime.engines.indextts2.checkpoint.features import log_mel, seamless_features, sinc_resampled
from realtime.engines.indextts2.checkpoint.generate import prefill
from realtime.engines.indextts2.checkpoint.random_weights import RandomParts
from realtime.engines.indextts2.clips import Clip, checked
from realtime.engines.indextts2.voice_pack import About, VoicePack
from realtime.models.voices_cli import main
from realtime.types import Emotion


def tone(seconds: float, hz: float) -> Clip:
    time = np.arange(int(seconds * 22050)) / 22050
    wave = 0.4 * np.sin(2 * np.pi * hz * time) * np.clip(np.sin(2 * np.pi * 3 * time), 0, None)
    return checked(wave.astype(np.float32)[:, None], 22050)


@pytest.fixture(scope="module")
def pack(tiny_parts: RandomParts) -> VoicePack:
    request = Enrolment(About("lin", "r1"), tone(3, 300), {"sad": tone(2, 200)}, {"mix": (0.5, *[0.0] * 6, 0.25)}, prompt_s=1.0)
    steps: list[str] = []
    made = enrol(tiny_parts, request, steps.append)
    assert len(steps) == 6
    return made


def test_sizes_are_the_models(pack: VoicePack) -> None:
    assert pack.speaker_latents.shape == (4, 32)
    assert pack.style.shape == (12,)
    assert pack.ref_mel.shape == (80, 86)  # 1 s of 86.13 frames
    assert pack.prompt_condition.shape == (86, 16)
    assert list(pack.emotions) == ["default", "sad", "mix"]
    pack.require("r1", 32, 12, 16)


def test_the_cached_rows_are_those_of_a_prefill(pack: VoicePack, tiny_parts: RandomParts) -> None:
    gpt = tiny_parts.gpt()
    for emotion in (None, Emotion("sad"), Emotion("mix")):
        conditions = pack.conditions(emotion)
        steps = prefill(gpt, gpt.prefix(torch.from_numpy(conditions.rows)[None], torch.tensor([[5, 6, 7]])))
        rows = conditions.rows.shape[0]
        assert conditions.keys is not None
        assert conditions.values is not None
        for layer in range(2):
            np.testing.assert_allclose(conditions.keys[layer], steps.cache.keys[layer][0, :, :rows].numpy(), atol=1e-5)
            np.testing.assert_allclose(conditions.values[layer], steps.cache.values[layer][0, :, :rows].numpy(), atol=1e-5)


def test_an_enrolled_vector_is_what_the_same_weights_give_at_run_time(pack: VoicePack) -> None:
    weights = (0.5, *[0.0] * 6, 0.25)
    np.testing.assert_allclose(pack.conditions(Emotion("mix")).rows, pack.conditions(Emotion(vector=weights)).rows, atol=1e-6)


def test_conditions_are_those_of_the_language_model(pack: VoicePack, tiny_parts: RandomParts) -> None:
    gpt, encoder = tiny_parts.gpt(), tiny_parts.feature_encoder()
    rows, _ = seamless_features(sinc_resampled(tone(3, 300).samples, 22050, 16000))
    features = encoder(torch.from_numpy(rows)[None])
    latents = gpt.speaker_latents(features)
    torch.testing.assert_close(torch.from_numpy(pack.conditions().rows)[None], gpt.conditions(latents, gpt.emotion_vector(features)))


def test_mel_and_condition_are_cut_at_the_same_place(pack: VoicePack, tiny_parts: RandomParts) -> None:
    whole = enrol(tiny_parts, Enrolment(About("lin"), tone(3, 300), prompt_s=15.0))
    mel = log_mel(tone(3, 300).samples, tiny_parts.mel_config())
    np.testing.assert_array_equal(whole.ref_mel, mel)
    (start,) = [i for i in range(mel.shape[1] - 85) if np.array_equal(mel[:, i : i + 86], pack.ref_mel)]
    np.testing.assert_allclose(whole.prompt_condition[start : start + 86], pack.prompt_condition, atol=1e-6)


@pytest.mark.parametrize("frames", [40, 60, 100])
def test_the_prompt_is_taken_where_somebody_speaks_and_ends_in_a_pause(frames: int) -> None:
    mel = np.full((80, 300), -11.0, dtype=np.float32)
    mel[:, 40:150] = mel[:, 160:222] = -3.0
    window = prompt_window(mel, frames)
    assert window.stop - window.start == frames
    assert (mel[0, window] == -3).sum() >= 0.8 * frames
    assert (mel[0, window.stop - 6 : window.stop] == -11).all()


def test_a_clip_shorter_than_the_prompt_is_taken_whole() -> None:
    mel = np.full((80, 300), -5.0, dtype=np.float32)
    assert prompt_window(mel, 300) == prompt_window(mel, 999) == slice(0, 300)


def test_the_resampler_agrees_with_another_one_in_the_band() -> None:
    time = np.arange(22050) / 22050
    wave = (0.5 * np.sin(2 * np.pi * 440 * time) + 0.2 * np.sin(2 * np.pi * 3100 * time)).astype(np.float32)
    ours, theirs = sinc_resampled(wave, 22050, 16000), soxr.resample(wave, 22050, 16000, quality="HQ")
    assert ours.shape == theirs.shape == (16000,)
    np.testing.assert_allclose(ours[100:-100], theirs[100:-100], atol=2e-3)


def test_padding_does_not_reach_the_rows_before_it(tiny_parts: RandomParts) -> None:
    encoder, rows = tiny_parts.feature_encoder(), torch.randn(1, 9, 160, generator=torch.Generator().manual_seed(2))
    mask = torch.tensor([[1] * 8 + [0]])
    torch.testing.assert_close(encoder(rows, mask)[:, :8], encoder(rows[:, :8]))
    assert not torch.allclose(encoder(rows)[:, :8], encoder(rows[:, :8]))


class TestCommand:
    @pytest.fixture
    def home(self, written_folder: Path, tmp_path: Path) -> Path:
        """A data directory with an exported model, a settings file that names it, and a clip."""
        export({"x": written_folder}, tmp_path / "models" / "indextts2", {"onnx": "off", "revision": "r7"})
        (tmp_path / "service.toml").write_text(f'[server]\ndata_dir = "{tmp_path}"\n')
        soundfile.write(tmp_path / "lin.wav", tone(4, 250).samples, 22050)
        soundfile.write(tmp_path / "sad.wav", tone(3, 180).samples, 22050)
        return tmp_path

    def run(self, home: Path, *arguments: str) -> int:
        return main(["--config", str(home / "service.toml"), *arguments])

    def test_a_voice_is_made_listed_and_removed(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        clip, sad = str(home / "lin.wav"), str(home / "sad.wav")
        options = ["--emotion", sad, "--emotion-vector", "glad=0.6,0,0,0,0,0,0,0", "--stand-in", "sambert=zhitian", "--prompt-s", "2"]
        assert self.run(home, "add", "lin", clip, *options, "--i-have-consent", "--json") == 0
        made = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert made["emotions"] == ["default", "sad", "glad"]
        assert made["prompt_s"] == pytest.approx(2, abs=0.02)
        pack = voice_pack.read(home / "voices" / "lin.voice.safetensors")
        assert pack.about.revision == "r7"
        assert pack.about.stand_ins == {"sambert": "zhitian"}
        assert pack.about.consent
        assert pack.about.source["seconds"] == 4
        assert self.run(home, "list", "--json") == 0
        assert [row["name"] for row in json.loads(capsys.readouterr().out.splitlines()[-1])["voices"]] == ["lin"]
        assert self.run(home, "remove", "lin") == 0
        assert not list((home / "voices").iterdir())
        assert self.run(home, "remove", "lin") == 1
        assert "there are: none" in capsys.readouterr().err

    def test_without_consent_nothing_is_made(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run(home, "add", "lin", str(home / "lin.wav")) == 1
        said = capsys.readouterr().err
        assert "Enrol it only if it is yours" in said
        assert "--i-have-consent" in said
        assert not (home / "voices").exists()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["add", "a/b", "lin.wav"], "letters, digits"),
            (["add", "lin", "absent.wav"], "No such file"),
            (["add", "lin", "lin.wav", "--prompt-s", "30"], "0.5 to 15 s"),
            (["add", "lin", "lin.wav", "--emotion-vector", "1,2"], "8 numbers"),
            (["add", "lin", "lin.wav", "--emotion-vector", "0.9,0.9,0,0,0,0,0,0"], "sum at most 1"),
            (["add", "lin", "lin.wav", "--emotion", "default=sad.wav"], "not 'default'"),
            (["add", "lin", "lin.wav", "--emotion", "sad.wav", "--emotion", "x/sad.wav"], "two emotions are called 'sad'"),
            (["add", "lin", "lin.wav", "--stand-in", "sambert"], "ENGINE=VOICE"),
            (["add", "lin", "lin.wav", "--model", "other"], "no exported IndexTTS-2 model named 'other'"),
        ],
    )
    def test_wrong_arguments_are_said(
        self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
    ) -> None:
        monkeypatch.chdir(home)
        assert self.run(home, *arguments, "--i-have-consent") == 1
        assert words in capsys.readouterr().err

    def test_a_checkpoint_that_is_gone_is_named(self, home: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        path = home / "models" / "indextts2" / "indextts2" / "manifest.json"
        table = json.loads(path.read_text())
        table["details"]["checkpoint"] = [str(tmp_path / "gone")]
        path.write_text(json.dumps(table))
        assert self.run(home, "add", "lin", str(home / "lin.wav"), "--i-have-consent") == 1
        assert "gone: not there. Give their folder(s) with --checkpoint" in capsys.readouterr().err

    def test_a_place_that_can_not_be_written_is_said_before_the_work(
        self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (home / "voices").write_text("a file")
        monkeypatch.setattr("realtime.engines.indextts2.checkpoint.enrol.enrol", lambda *given: pytest.fail("worked"))
        assert self.run(home, "add", "lin", str(home / "lin.wav"), "--i-have-consent") == 1
        assert f"realtime voices: {home / 'voices'}: " in capsys.readouterr().err

    def test_a_broken_pack_is_listed_with_its_error(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (home / "voices").mkdir()
        (home / "voices" / "old.voice.safetensors").write_bytes(b"nothing")
        assert self.run(home, "list") == 0
        assert "not readable as a voice pack" in capsys.readouterr().out
