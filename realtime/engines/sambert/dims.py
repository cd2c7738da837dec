"""What the two configuration files of a voice say, checked: every size and option that the networks are built from.

The published names are kept (`upsample_kernal_sizes` included), so a field can be looked up in the file. Keys that only training
reads are skipped by name; anything else unknown is an error, because an option that we don't know may change the sound.
Sources: `am/config.yaml` at `Model.KanTtsSAMBERT.params`, `voc/config.yaml` at `Model.Generator.params`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from realtime.errors import ModelMissing


@dataclass(frozen=True)
class AcousticDims:
    """Sizes of the acoustic model (text to mel), all as the configuration file names them.

    The last six without a default are the rows of the embedding tables; the published file lacks them, they come from the weights.
    """

    max_len: int
    embedding_dim: int
    encoder_num_layers: int
    encoder_num_heads: int
    encoder_num_units: int
    encoder_ffn_inner_dim: int
    encoder_projection_units: int
    speaker_units: int
    emotion_units: int
    predictor_filter_size: int
    predictor_fsmn_num_layers: int
    predictor_num_memory_units: int
    predictor_ffn_inner_dim: int
    predictor_shift: int | tuple[int, ...]
    predictor_lstm_units: int
    dur_pred_prenet_units: tuple[int, ...]
    dur_pred_lstm_units: int
    decoder_prenet_units: tuple[int, ...]
    decoder_num_layers: int
    decoder_num_heads: int
    decoder_num_units: int
    decoder_ffn_inner_dim: int
    outputs_per_step: int
    num_mels: int
    postnet_filter_size: int
    postnet_fsmn_num_layers: int
    postnet_num_memory_units: int
    postnet_ffn_inner_dim: int
    postnet_shift: int | tuple[int, ...]
    postnet_lstm_units: int
    sy: int
    tone: int
    syllable_flag: int
    word_segment: int
    emotion: int
    speaker: int
    NSF: bool = False
    SE: bool = False
    nsf_norm_type: str = "mean_std"
    nsf_f0_global_minimum: float = 30.0
    nsf_f0_global_maximum: float = 730.0

    @property
    def condition_units(self) -> int:
        """Width of text, speaker and emotion side by side: what the predictors and the duration loop see."""
        return self.encoder_projection_units + self.speaker_units + self.emotion_units

    @property
    def memory_units(self) -> int:
        """Width of one decoder memory row: the text of `outputs_per_step` frames, one emotion, one speaker."""
        return self.encoder_projection_units * self.outputs_per_step + self.speaker_units + self.emotion_units

    @property
    def mel_bands(self) -> int:
        """Mel columns without the two of F0 and voicing that NSF voices append."""
        return self.num_mels - 2 if self.NSF else self.num_mels


@dataclass(frozen=True)
class VocoderDims:
    """Sizes of the HiFi-GAN generator (mel to samples). `nb_harmonics` is None where the voice has no sine source (NSF)."""

    in_channels: int
    channels: int
    kernel_size: int
    upsample_scales: tuple[int, ...]
    upsample_kernal_sizes: tuple[int, ...]
    resblock_kernel_sizes: tuple[int, ...]
    resblock_dilations: tuple[tuple[int, ...], ...]
    bias: bool = True
    causal: bool = True
    use_weight_norm: bool = True
    repeat_upsample: bool = True
    slope: float = 0.1
    nb_harmonics: int | None = None
    sampling_rate: int = 16000

    @property
    def hop(self) -> int:
        """Samples per mel frame."""
        return math.prod(self.upsample_scales)

    @property
    def is_nsf(self) -> bool:
        """Whether the generator takes F0 and voicing besides the mel."""
        return self.nb_harmonics is not None

    @property
    def input_rows(self) -> int:
        """Rows of the generator's input: the mel, and two more for NSF."""
        return self.in_channels + (2 if self.is_nsf else 0)

    def stage_channels(self, stage: int) -> tuple[int, int]:
        """Channels that enter and leave up-sampling stage `stage`."""
        return self.channels // 2**stage, self.channels // 2 ** (stage + 1)

    def later_scale(self, stage: int) -> int:
        """Samples per column after stage `stage`."""
        return math.prod(self.upsample_scales[stage + 1 :])


_ACOUSTIC_IGNORED = {"MAS", "FP", "MAS_byte", "type", "name", "language"}
_VOCODER_IGNORED = {"out_channels", "nonlinear_activation", "nonlinear_activation_params", "nsf_params", "name", "type"}


def acoustic_dims(params: Mapping[str, Any], where: str = "am/config.yaml") -> AcousticDims:
    """Check and freeze the acoustic parameters (row counts of the tables included).

    Raises `ModelMissing` naming the first key that is missing, unknown or of the wrong type, or the kind of model (FP, MAS_byte) that
    can't be spoken.
    """
    refuse_unspeakable(params, where)
    kept = {key: value for key, value in params.items() if not key.endswith("_dropout") and key not in _ACOUSTIC_IGNORED}
    values = _checked(AcousticDims, kept, where)
    dims = AcousticDims(**values)
    for units, heads, key in (
        (dims.encoder_num_units, dims.encoder_num_heads, "encoder_num_heads"),
        (dims.decoder_num_units, dims.decoder_num_heads, "decoder_num_heads"),
    ):
        if units % heads:
            raise ModelMissing(f"{where}: {key} {heads} does not divide the width {units}")
    if dims.nsf_norm_type not in ("mean_std", "global"):
        raise ModelMissing(f"{where}: nsf_norm_type {dims.nsf_norm_type!r} is neither mean_std nor global")
    return dims


def refuse_unspeakable(params: Mapping[str, Any], where: str) -> None:
    """Raise `ModelMissing` for the two kinds of acoustic model that this engine does not speak, by name."""
    if params.get("FP"):
        raise ModelMissing(f"{where}: FP is set: voices with a filled-pause predictor (FP, 8 kHz) are not supported")
    if params.get("MAS_byte") or "byte_index" in params:
        raise ModelMissing(f"{where}: a byte model (MAS_byte): it reads raw bytes instead of symbols and is not supported")


def vocoder_dims(params: Mapping[str, Any], where: str = "voc/config.yaml") -> VocoderDims:
    """Check and freeze the generator's parameters. Raises `ModelMissing` naming the first key that is wrong or not supported."""
    if params.get("out_channels", 1) != 1:
        raise ModelMissing(f"{where}: out_channels {params['out_channels']}: generators with sub-bands (PQMF) are not supported")
    if params.get("nonlinear_activation", "LeakyReLU") != "LeakyReLU":
        raise ModelMissing(f"{where}: nonlinear_activation {params['nonlinear_activation']!r}: only LeakyReLU is supported")
    kept = {key: value for key, value in params.items() if key not in _VOCODER_IGNORED}
    kept["slope"] = (params.get("nonlinear_activation_params") or {}).get("negative_slope", 0.01)
    kept.update({k: v for k, v in (params.get("nsf_params") or {}).items() if k in ("nb_harmonics", "sampling_rate")})
    values = _checked(VocoderDims, kept, where)
    values["resblock_dilations"] = tuple(tuple(row) for row in values["resblock_dilations"])
    dims = VocoderDims(**values)
    if len(dims.upsample_scales) != len(dims.upsample_kernal_sizes):
        raise ModelMissing(f"{where}: upsample_scales and upsample_kernal_sizes differ in length")
    if len(dims.resblock_kernel_sizes) != len(dims.resblock_dilations):
        raise ModelMissing(f"{where}: resblock_kernel_sizes and resblock_dilations differ in length")
    for scale, kernel in zip(dims.upsample_scales, dims.upsample_kernal_sizes, strict=True):
        if kernel < scale:
            raise ModelMissing(f"{where}: upsample_kernal_sizes holds {kernel}, less than its scale {scale}")
    return dims


def _checked(kind: type[AcousticDims] | type[VocoderDims], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    known = {f.name: f for f in fields(kind)}
    for key, value in given.items():
        if key not in known:
            raise ModelMissing(f"{where}: unknown parameter {key!r} = {value!r}; it may change the network, so the voice is refused")
        _check_type(str(known[key].type), key, value, where)
    for name, one in known.items():
        if name not in given and one.default is MISSING:
            raise ModelMissing(f"{where}: parameter {name!r} is missing")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}


def _check_type(wanted: str, key: str, value: Any, where: str) -> None:
    def is_count(v: Any) -> bool:
        return isinstance(v, int) and not isinstance(v, bool) and v >= 0

    kinds: dict[str, bool] = {
        "int": is_count(value),
        "int | None": value is None or is_count(value),
        "bool": isinstance(value, bool),
        "float": isinstance(value, (int, float)) and not isinstance(value, bool),
        "str": isinstance(value, str),
        "tuple[int, ...]": isinstance(value, (list, tuple)) and all(is_count(v) for v in value),
        "tuple[tuple[int, ...], ...]": isinstance(value, (list, tuple)) and all(isinstance(v, (list, tuple)) for v in value),
    }
    kinds["int | tuple[int, ...]"] = kinds["int"] or kinds["tuple[int, ...]"]
    if not kinds[wanted]:
        raise ModelMissing(f"{where}: parameter {key!r} is {value!r}, not of type {wanted}")
