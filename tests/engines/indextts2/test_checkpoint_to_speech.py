"""The whole way: published files, export, an enrolled voice, the engine; and its sound is what the torch modules make of the same text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional as F

from realtime.engines import registry
from realtime.engines.base import Chunk, Done, Engine, Failed, Job
from realtime.engines.indextts2 import voice_pack
from realtime.engines.indextts2.acoustic import NOISE_STREAM
from realtime.engines.indextts2.checkpoint.export import export
from realtime.engines.indextts2.checkpoint.generate import generate
from realtime.engines.indextts2.checkpoint.load import Checkpoint
from realtime.engines.indextts2.frames import frames_for_codes
from realtime.engines.indextts2.sampler import Sampling
from realtime.engines.indextts2.tokens import TextFrontEnd
from realtime.engines.indextts2.voice_pack import VoicePack
from realtime.types import Emotion

VOCABULARY, CODES, SEED = 110, 21, 5
TEXT = "今天天气很好"
PRECISE = {f"{part}_precision": "fp32" for part in ("language", "flow", "vocoder")}


def engine_of(home: Path, **options: object) -> Engine:
    table = {
        "models_dir": str(home / "models" / "indextts2"),
        "cache_dir": str(home / "cache"),
        "threads": 1,
        "max_codes_base": CODES,
        "max_codes_per_piece": 0.001,
        **options,
    }
    return registry.load("indextts2", table)


def spoken(engine: Engine, job: Job) -> npt.NDArray[np.float32]:
    """All samples of a job."""
    engine.start(job)
    samples = []
    for _ in range(50_000):
        for event in engine.step():
            assert not isinstance(event, Failed), event
            if isinstance(event, Done):
                return np.concatenate(samples)
            assert isinstance(event, Chunk)
            samples.append(event.samples)
    raise AssertionError("the job did not end")


@torch.inference_mode()
def by_torch(folder: Path, pack: VoicePack, emotion: Emotion | None, offset: int) -> npt.NDArray[np.float32]:
    """The reference chain: sampled codes, latents, regulator, 25 steps, vocoder; noise as the engine draws it."""
    parts = Checkpoint(folder)
    gpt, s2mel = parts.gpt(), parts.s2mel()
    (segment,) = TextFrontEnd(parts.bpe_model(), VOCABULARY).encode(TEXT)
    conditions, text = torch.from_numpy(pack.conditions(emotion).rows)[None], torch.tensor([segment.ids])
    codes, _ = generate(gpt, gpt.prefix(conditions, text), Sampling(), CODES, offset=offset, seed=SEED)
    assert len(set(codes)) > 5
    row = torch.tensor([codes])
    content = parts.codec().book.rows(row) + s2mel.gpt_layer(gpt.latents(conditions, text, row))
    frames = frames_for_codes(CODES)
    mu = torch.cat([torch.from_numpy(pack.prompt_condition)[None], s2mel.length_regulator(content, frames)], dim=1)
    random = np.random.Generator(np.random.PCG64([SEED, NOISE_STREAM]))
    noise = torch.from_numpy(random.standard_normal((frames, 80), dtype=np.float32).T.copy())[None]
    mel = s2mel.cfm.solve(
        mu, torch.from_numpy(pack.ref_mel)[None], torch.from_numpy(pack.style)[None], F.pad(noise, (pack.prompt_frames, 0)), 25, 0.7
    )
    wave: npt.NDArray[np.float32] = parts.vocoder()(mel[:, :, pack.prompt_frames :])[0, 0].numpy()
    return wave


@pytest.mark.parametrize("offset", [1, 2])
@pytest.mark.parametrize("emotion", [None, Emotion("glad", strength=0.7)], ids=["plain", "glad"])
def test_the_engine_says_what_the_torch_modules_say(home: Path, written_folder: Path, offset: int, emotion: Emotion | None) -> None:
    engine = engine_of(home, position_offset=offset, **PRECISE)
    try:
        found = spoken(engine, Job("j", TEXT, "lin", "zh", level="exact", seed=SEED, emotion=emotion))
    finally:
        engine.close()
    pack = voice_pack.read(voice_pack.path_in(home / "voices", "lin"))
    expected = by_torch(written_folder, pack, emotion, offset)
    assert found.shape == expected.shape == (frames_for_codes(CODES) * 256,)
    assert expected.std() > 1e-4
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_an_enrolled_voice_is_served_and_streamed(home: Path) -> None:
    engine = engine_of(home)
    try:
        (voice,) = engine.info.voices
        assert (voice.id, voice.emotions[:2], voice.stand_ins) == ("lin", ("default", "glad"), {"espeak": "cmn"})
        assert engine.info.revision == "r1"
        samples = spoken(engine, Job("j", TEXT, "lin", "zh", level="fast"))
        assert len(samples) == frames_for_codes(CODES) * 256
        assert np.isfinite(samples).all()
    finally:
        engine.close()


def test_voices_come_and_go_while_the_engine_runs(home: Path, tmp_path: Path) -> None:
    voices = tmp_path / "voices"
    voices.mkdir()
    engine = engine_of(home, voices_dir=str(voices))
    try:
        assert engine.info.voices == ()
        pack = voice_pack.read(voice_pack.path_in(home / "voices", "lin"))
        voice_pack.write(pack, voice_pack.path_in(voices, "lin"))
        assert [v.id for v in engine.reload().voices] == ["lin"]
        assert len(spoken(engine, Job("j", TEXT, "lin", "zh", level="fast"))) > 0
        voice_pack.path_in(voices, "lin").unlink()
        assert engine.reload().voices == ()
    finally:
        engine.close()


def test_the_checkpoints_glossary_is_spoken(tiny_folder: Path, tmp_path: Path) -> None:
    (tiny_folder / "glossary.yaml").write_text("TTS: {zh: 天气}\n", encoding="utf-8")
    export({"x": tiny_folder}, tmp_path / "models" / "indextts2", {"onnx": "off"})
    engine = engine_of(tmp_path)
    try:
        front_end = engine.front_end  # type: ignore[attr-defined]
        assert front_end.encode("TTS好")[0].ids == front_end.encode("天气好")[0].ids
    finally:
        engine.close()
