"""Golden data if it is there, and a voice of tiny random weights, exported by our own code."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]

TINY_ACOUSTIC: dict[str, Any] = {
    "max_len": 200,
    "embedding_dim": 24,
    "encoder_num_layers": 2,
    "encoder_num_heads": 2,
    "encoder_num_units": 16,
    "encoder_ffn_inner_dim": 20,
    "encoder_projection_units": 8,
    "speaker_units": 4,
    "emotion_units": 4,
    "predictor_filter_size": 9,
    "predictor_fsmn_num_layers": 2,
    "predictor_num_memory_units": 8,
    "predictor_ffn_inner_dim": 12,
    "predictor_lstm_units": 8,
    "dur_pred_prenet_units": [8, 6],
    "dur_pred_lstm_units": 8,
    "decoder_prenet_units": [10, 8],
    "decoder_num_layers": 2,
    "decoder_num_heads": 2,
    "decoder_num_units": 16,
    "decoder_ffn_inner_dim": 20,
    "num_mels": 6,
    "postnet_filter_size": 9,
    "postnet_fsmn_num_layers": 3,
    "postnet_num_memory_units": 8,
    "postnet_ffn_inner_dim": 12,
    "postnet_shift": 2,
    "postnet_lstm_units": 8,
}
TINY_VOCODER: dict[str, Any] = {
    "in_channels": 6,
    "channels": 16,
    "upsample_scales": [5, 4],
    "upsample_kernal_sizes": [10, 8],
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilations": [[1, 3], [1, 3]],
}
TINY_RATE = 1600  # 20 samples per frame, 80 frames a second like the 16 kHz voices


@pytest.fixture(scope="session")
def golden() -> Path:
    folder = Path(os.environ.get("REALTIME_GOLDEN_DIR", ROOT.parent / "shared" / "golden")) / "sambert"
    if not folder.is_dir():
        pytest.skip(f"no golden data at {folder}; set REALTIME_GOLDEN_DIR")
    return folder


@pytest.fixture(scope="session")
def torch() -> Any:
    found = pytest.importorskip("torch", reason="needs the extra `convert` (torch) to make a voice")
    found.set_num_threads(1)
    return found


Exporter = Callable[..., Path]


@pytest.fixture(scope="session")
def write_tiny(torch: Any) -> Exporter:
    """Call with a folder, voice names and overrides -> the folder with a random archive of tiny voices in it."""
    from realtime.engines.sambert.checkpoint.random_voice import write_random_archive

    def write(
        folder: Path,
        names: tuple[str, ...],
        acoustic: dict[str, Any] | None = None,
        vocoder: dict[str, Any] | None = None,
        rate: int = TINY_RATE,
    ) -> Path:
        sizes = {"acoustic": {**TINY_ACOUSTIC, **(acoustic or {})}, "vocoder": {**TINY_VOCODER, **(vocoder or {})}}
        return write_random_archive(folder, names, sample_rate=rate, **sizes)

    return write


@pytest.fixture(scope="session")
def export_tiny(write_tiny: Exporter, tmp_path_factory: pytest.TempPathFactory) -> Exporter:
    """Call with voice names and overrides -> the models folder with them exported. One export per set of arguments."""
    from realtime.engines.sambert.checkpoint.export import export

    made: dict[str, Path] = {}

    def make(
        names: tuple[str, ...] = ("tiny",),
        acoustic: dict[str, Any] | None = None,
        vocoder: dict[str, Any] | None = None,
        rate: int = TINY_RATE,
        **options: Any,
    ) -> Path:
        key = repr((names, acoustic, vocoder, rate, options))
        if key not in made:
            base = tmp_path_factory.mktemp("sambert")
            archive = write_tiny(base / "archive", names, acoustic, vocoder, rate)
            export({"archive": archive}, base / "models", options)
            made[key] = base / "models"
        return made[key]

    return make


@pytest.fixture(scope="session")
def tiny_models(export_tiny: Exporter) -> Path:
    return export_tiny()


@pytest.fixture
def tiny_acoustic() -> dict[str, Any]:
    return dict(TINY_ACOUSTIC)


@pytest.fixture
def tiny_vocoder() -> dict[str, Any]:
    return dict(TINY_VOCODER)
