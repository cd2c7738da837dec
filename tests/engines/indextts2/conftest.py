"""Shared by the IndexTTS-2 tests: one thread, a small vocabulary trained on the spot, the reference data."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import sentencepiece

VOCABULARY = 110


@pytest.fixture(scope="session")
def bpe() -> bytes:
    """A sentencepiece model of `VOCABULARY` pieces with the official ids of start and stop, trained on the lines below."""
    lines = [
        "今 天 天 气 很 好 , 我 们 去 公 园 玩 .",
        "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG .",
        "你 好 , 世 界 ! CHONG2 XIN1 HANG2 LV4",
        "一 二 三 四 五 六 七 八 九 十 点 百 分 之 - 买 了 个 吗 ? '",
    ] * 4
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=out,
        vocab_size=VOCABULARY,
        model_type="bpe",
        bos_id=0,
        eos_id=1,
        unk_id=2,
        pad_id=-1,
        character_coverage=1.0,
        minloglevel=2,
    )
    return out.getvalue()


@pytest.fixture(scope="session")
def golden() -> Path:
    """The IndexTTS-2 reference data; tests that need it are skipped where it is absent."""
    root = Path(__file__).resolve().parents[3]
    folder = Path(os.environ.get("REALTIME_GOLDEN_DIR", root.parent / "shared" / "golden")) / "indextts2"
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}; set REALTIME_GOLDEN_DIR")
    return folder
