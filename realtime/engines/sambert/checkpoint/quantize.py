"""The vocoder in int8: a faster, somewhat rougher quality level (`fast`).

Convolutions with static scales (per output channel for weights, per tensor for activations), so that the sound still does not depend on
how it is cut. Ranges are taken from the voice's own mel of a few sentences. First and last convolution stay in float: they cost little
and everything passes through them. Measured (ops/LOG.md): 1.7 times as fast at 256 channels, slower than float at 64, so by default
only generators of at least `MIN_CHANNELS` get it.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from realtime.engines.sambert.frontend.frontend import Frontend
from realtime.engines.sambert.sessions import Tensor
from realtime.engines.sambert.source import SineSource
from realtime.engines.sambert.voice import NEUTRAL, Manner, Voice

Array = npt.NDArray[np.float32]

MIN_CHANNELS = 128
CHUNK = 32
SENTENCES = ("您可以向我询问工资问题。", "北京今天天气怎么样？")


class _Chunks(CalibrationDataReader):  # type: ignore[misc]
    """Feeds of the float graph, chunk after chunk with its state, as it runs in service."""

    def __init__(self, voice: Voice) -> None:
        self._feeds = self._all(voice)

    def get_next(self) -> dict[str, Tensor] | None:
        """The next feed; None at the end."""
        return next(self._feeds, None)

    def _all(self, voice: Voice) -> Iterator[dict[str, Tensor]]:
        graph, dims = voice.graphs["vocoder"], voice.vocoder
        names = [name for name in graph.inputs if name not in ("x", "excitation")]
        for sentence in SENTENCES:
            mel, source = voice.vocoder_input(_mel_of(voice, sentence)), voice.sine_source(0)
            state: dict[str, Tensor] = {name: np.zeros([d or 1 for d in graph.inputs[name]], np.float32) for name in names}
            for at in range(0, mel.shape[0], CHUNK):
                feed = {**_feed(mel[at : at + CHUNK], dims.in_channels, source), **state}
                yield feed
                state = dict(zip(names, graph.run(feed)[1:], strict=True))


def _feed(mel: Array, bands: int, source: SineSource | None) -> dict[str, Tensor]:
    feed: dict[str, Tensor] = {"x": np.ascontiguousarray(mel[:, :bands].T)[None]}
    if source is not None:
        feed["excitation"] = source.push(mel[:, bands], mel[:, bands + 1])[None, None]
    return feed


def _mel_of(voice: Voice, text: str) -> Array:
    parts = []
    for line in Frontend().read(text, "zh").lines:
        score = voice.score(line.symbols(NEUTRAL, voice.vocabulary.default_speaker), Manner())
        if score.frames:
            parts.append(voice.mel_of(score))
    return np.concatenate(parts)


@contextmanager
def _without_advice() -> Iterator[None]:
    """The library advises, on the root logger, a shape pass that dynamic chunks don't allow."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def quantize_vocoder(folder: Path, voice: Voice) -> None:
    """Write `vocoder_int8.onnx` beside `vocoder.onnx` of an exported voice."""
    float_graph = folder / "vocoder.onnx"
    convolutions = [node.name for node in onnx.load(str(float_graph)).graph.node if node.op_type == "Conv"]
    with _without_advice(), tempfile.TemporaryDirectory(prefix="sambert-int8-") as scratch:
        made = Path(scratch) / "vocoder_int8.onnx"
        quantize_static(
            str(float_graph),
            str(made),
            _Chunks(voice),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[convolutions[0], convolutions[-1]],
        )
        (folder / "vocoder_int8.onnx").write_bytes(made.read_bytes())
