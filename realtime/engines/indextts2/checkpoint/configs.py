"""Sizes of every module, read from the files that ship with the weights; nothing is assumed from the official set.

Names follow the official `config.yaml` and BigVGAN's `config.json`. Every `read` raises `ModelMissing` naming the first wrong entry.
"""

from __future__ import annotations

from dataclasses import dataclass

from realtime.engines.indextts2.checkpoint.sections import Section
from realtime.errors import ModelMissing

FEATURE_DIM = 1024
"""Width of w2v-bert features; wired into the official modules, not configurable there."""
EMOTION_DIM = 1024
"""Width of the emotion perceiver; likewise wired in."""


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """One conditioning encoder: a conformer and the perceiver on top of it."""

    width: int
    ffn: int
    heads: int
    blocks: int
    perceiver_mult: float

    @classmethod
    def read(cls, s: Section) -> EncoderConfig:
        """From `condition_module` or `emo_condition_module`."""
        s.only("input_layer", "conv2d2")
        config = cls(
            s.integer("output_size"),
            s.integer("linear_units"),
            s.integer("attention_heads"),
            s.integer("num_blocks"),
            s.number("perceiver_mult", 2.0),
        )
        _divides(s, "output_size", config.width, "attention_heads", config.heads)
        return config


@dataclass(frozen=True, slots=True)
class GptConfig:
    """The language model of codes. `max_text` and `max_codes` bound the position tables, not counting start and stop."""

    dim: int
    layers: int
    heads: int
    max_text: int
    max_codes: int
    text_tokens: int
    codes: int
    start_code: int
    stop_code: int
    start_text: int
    stop_text: int
    latents: int
    speaker: EncoderConfig
    emotion: EncoderConfig

    @classmethod
    def read(cls, s: Section) -> GptConfig:
        """From the `gpt` section of `config.yaml`."""
        s.only("condition_type", "conformer_perceiver")
        s.only("train_solo_embeddings", False)
        config = cls(
            dim=s.integer("model_dim"),
            layers=s.integer("layers"),
            heads=s.integer("heads"),
            max_text=s.integer("max_text_tokens"),
            max_codes=s.integer("max_mel_tokens"),
            text_tokens=s.integer("number_text_tokens"),
            codes=s.integer("number_mel_codes"),
            start_code=s.integer("start_mel_token"),
            stop_code=s.integer("stop_mel_token"),
            start_text=s.integer("start_text_token", 0),
            stop_text=s.integer("stop_text_token", 1),
            latents=s.integer("condition_num_latent", 32),
            speaker=EncoderConfig.read(s.section("condition_module")),
            emotion=EncoderConfig.read(s.section("emo_condition_module")),
        )
        _divides(s, "model_dim", config.dim, "heads", config.heads)
        if not (config.start_code < config.codes and config.stop_code < config.codes):
            raise ModelMissing(f"{s.path}: start and stop token must be below number_mel_codes ({config.codes})")
        return config


@dataclass(frozen=True, slots=True)
class CodecConfig:
    """The semantic codec."""

    codebook_size: int
    hidden: int
    codebook_dim: int
    width: int
    ffn: int
    layers: int

    @classmethod
    def read(cls, s: Section) -> CodecConfig:
        """From the `semantic_codec` section of `config.yaml`."""
        s.only("num_quantizers", 1, 1)
        return cls(
            s.integer("codebook_size"),
            s.integer("hidden_size"),
            s.integer("codebook_dim"),
            s.integer("vocos_dim"),
            s.integer("vocos_intermediate_dim"),
            s.integer("vocos_num_layers"),
        )


@dataclass(frozen=True, slots=True)
class RegulatorConfig:
    """The length regulator; `layers` convolutions with GroupNorm between two projections."""

    channels: int
    in_channels: int
    layers: int
    codebook: int

    @classmethod
    def read(cls, s: Section) -> RegulatorConfig:
        """From `s2mel.length_regulator`."""
        for name in ("is_discrete", "vector_quantize", "f0_condition"):
            s.only(name, False)
        return cls(s.integer("channels"), s.integer("in_channels"), len(s.integers("sampling_ratios")), s.integer("content_codebook_size"))


@dataclass(frozen=True, slots=True)
class DitConfig:
    """The flow's velocity estimator: transformer, then WaveNet."""

    mels: int
    content: int
    style: int
    width: int
    heads: int
    depth: int
    codebook: int
    uvit_skip: bool
    long_skip: bool
    wavenet_layers: int
    wavenet_kernel: int
    wavenet_dilation: int

    @property
    def ffn(self) -> int:
        """Inner width of the gated feed-forward: 8/3 of the width, up to the next multiple of 256 (gpt-fast's rule)."""
        return -(-(8 * self.width // 3) // 256) * 256

    @property
    def skips(self) -> int:
        """How many leading layers hand their output to a trailing one."""
        return self.depth // 2 if self.uvit_skip else 0

    @classmethod
    def read(cls, s: Section) -> DitConfig:
        """From the `s2mel` section."""
        dit, wavenet = s.section("DiT"), s.section("wavenet")
        s.only("dit_type", "DiT")
        dit.only("final_layer_type", "wavenet")
        dit.only("style_condition", True)
        wavenet.only("style_condition", True)
        for name in ("is_causal", "time_as_token", "style_as_token", "zero_prompt_speech_token", "f0_condition"):
            dit.only(name, False)
        dit.only("add_resblock_in_transformer", False, False)
        width = dit.integer("hidden_dim")
        if wavenet.integer("hidden_dim") != width:
            raise ModelMissing(f"{wavenet.path}.hidden_dim: must equal {dit.path}.hidden_dim ({width}): both take one time embedding")
        _divides(dit, "hidden_dim", width, "num_heads", dit.integer("num_heads"))
        return cls(
            mels=dit.integer("in_channels"),
            content=dit.integer("content_dim"),
            style=s.section("style_encoder").integer("dim"),
            width=width,
            heads=dit.integer("num_heads"),
            depth=dit.integer("depth"),
            codebook=dit.integer("content_codebook_size"),
            uvit_skip=dit.flag("uvit_skip_connection", True),
            long_skip=dit.flag("long_skip_connection", True),
            wavenet_layers=wavenet.integer("num_layers"),
            wavenet_kernel=wavenet.integer("kernel_size"),
            wavenet_dilation=wavenet.integer("dilation_rate", 1),
        )


@dataclass(frozen=True, slots=True)
class S2MelConfig:
    """All of `s2mel.pth`. `projector` are the widths of gpt_layer from the GPT's hidden states to the codec's."""

    regulator: RegulatorConfig
    dit: DitConfig
    projector: tuple[int, ...]

    @classmethod
    def read(cls, s: Section, projector: tuple[int, ...]) -> S2MelConfig:
        """From the `s2mel` section; the projector's widths stand nowhere in `config.yaml` and are read from its weights."""
        if len(projector) < 2:
            raise ModelMissing(f"{s.path}: gpt_layer needs at least one linear layer")
        return cls(RegulatorConfig.read(s.section("length_regulator")), DitConfig.read(s), projector)


@dataclass(frozen=True, slots=True)
class BigVganConfig:
    """The vocoder."""

    mels: int
    channels: int
    rates: tuple[int, ...]
    kernels: tuple[int, ...]
    block_kernels: tuple[int, ...]
    block_dilations: tuple[tuple[int, ...], ...]
    log_scale: bool
    tanh: bool
    final_bias: bool
    sample_rate: int

    @classmethod
    def read(cls, s: Section) -> BigVganConfig:
        """From BigVGAN's own `config.json`."""
        s.only("resblock", "1")
        s.only("activation", "snakebeta")
        config = cls(
            mels=s.integer("num_mels"),
            channels=s.integer("upsample_initial_channel"),
            rates=s.integers("upsample_rates"),
            kernels=s.integers("upsample_kernel_sizes"),
            block_kernels=s.integers("resblock_kernel_sizes"),
            block_dilations=s.integer_lists("resblock_dilation_sizes"),
            log_scale=s.flag("snake_logscale"),
            tanh=s.flag("use_tanh_at_final", True),
            final_bias=s.flag("use_bias_at_final", True),
            sample_rate=s.integer("sampling_rate"),
        )
        if len(config.rates) != len(config.kernels) or len(config.block_kernels) != len(config.block_dilations):
            raise ModelMissing(f"{s.path}: upsample_rates/kernel_sizes or resblock_kernel/dilation_sizes differ in length")
        if any(rate < 1 or kernel < rate or (kernel - rate) % 2 for rate, kernel in zip(config.rates, config.kernels, strict=True)):
            raise ModelMissing(f"{s.path}: each upsample rate must be at least 1, its kernel longer by an even number")
        return config


@dataclass(frozen=True, slots=True)
class CamPlusConfig:
    """The speaker encoder. The official file has no configuration; these are its sizes."""

    features: int = 80
    embedding: int = 192
    growth: int = 32
    bn_size: int = 4
    channels: int = 128

    @classmethod
    def read(cls, s: Section) -> CamPlusConfig:
        """From the constructor's names."""
        return cls(
            s.integer("feat_dim", 80),
            s.integer("embedding_size", 192),
            s.integer("growth_rate", 32),
            s.integer("bn_size", 4),
            s.integer("init_channels", 128),
        )


@dataclass(frozen=True, slots=True)
class W2vBertConfig:
    """The feature encoder, cut after `used_layers` of its layers."""

    hidden: int
    heads: int
    ffn: int
    inputs: int
    left: int
    right: int
    kernel: int
    eps: float
    used_layers: int

    @classmethod
    def read(cls, s: Section, hidden_states_index: int = 17) -> W2vBertConfig:
        """From the repository's `config.json`; `hidden_states_index` 17 is what the model was trained on (specification section 14)."""
        s.only("position_embeddings_type", "relative_key")
        s.only("hidden_act", "swish")
        if s.integer("num_hidden_layers") < hidden_states_index:
            raise ModelMissing(f"{s.path}.num_hidden_layers: hidden state {hidden_states_index} needs at least that many layers")
        config = cls(
            hidden=s.integer("hidden_size"),
            heads=s.integer("num_attention_heads"),
            ffn=s.integer("intermediate_size"),
            inputs=s.integer("feature_projection_input_dim", 160),
            left=s.integer("left_max_position_embeddings", 64),
            right=s.integer("right_max_position_embeddings", 8),
            kernel=s.integer("conv_depthwise_kernel_size", 31),
            eps=s.number("layer_norm_eps", 1e-5),
            used_layers=hidden_states_index,
        )
        _divides(s, "hidden_size", config.hidden, "num_attention_heads", config.heads)
        return config


@dataclass(frozen=True, slots=True)
class MelConfig:
    """The mel spectrogram that flow, prompt and vocoder share. `fmax` None is half the sample rate."""

    sample_rate: int = 22050
    n_fft: int = 1024
    window: int = 1024
    hop: int = 256
    mels: int = 80
    fmin: float = 0.0
    fmax: float | None = None

    @classmethod
    def read(cls, s: Section) -> MelConfig:
        """From `s2mel.preprocess_params`."""
        spect = s.section("spect_params")
        fmax = spect.table.get("fmax", "None")
        return cls(
            s.integer("sr"),
            spect.integer("n_fft"),
            spect.integer("win_length"),
            spect.integer("hop_length"),
            spect.integer("n_mels"),
            spect.number("fmin", 0.0),
            None if fmax in (None, "None") else spect.number("fmax"),
        )


def _divides(s: Section, whole_name: str, whole: int, parts_name: str, parts: int) -> None:
    if parts == 0 or whole % parts:
        raise ModelMissing(f"{s.path}: {whole_name} ({whole}) must be a multiple of {parts_name} ({parts})")
