"""The sound half against reference data: codec, s2mel, vocoder, speaker encoder, features, sampler, emotion, and the whole chain."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from realtime.engines.indextts2.checkpoint import parity_gpt
from realtime.engines.indextts2.checkpoint.bigvgan import BigVgan
from realtime.engines.indextts2.checkpoint.campplus import CamPlus
from realtime.engines.indextts2.checkpoint.codec import Codec
from realtime.engines.indextts2.checkpoint.configs import BigVganConfig, CamPlusConfig, CodecConfig, MelConfig, S2MelConfig, W2vBertConfig
from realtime.engines.indextts2.checkpoint.features import centred_fbank, kaldi_fbank, log_mel, seamless_features
from realtime.engines.indextts2.checkpoint.generate import generate
from realtime.engines.indextts2.checkpoint.load import W2V_EXTRAS
from realtime.engines.indextts2.checkpoint.s2mel import S2Mel
from realtime.engines.indextts2.checkpoint.stage import Stage
from realtime.engines.indextts2.checkpoint.w2vbert import W2vBert
from realtime.engines.indextts2.emotion import absolute_rows, choose_rows, mixed
from realtime.engines.indextts2.frames import frames_for_codes
from realtime.engines.indextts2.sampler import Logits, Sampling, penalised, softmax, top_k_only, top_p_only
from realtime.errors import ModelMissing

TOLERANCE, DEEP, FRONT_END, SAMPLER = 1e-4, 2e-4, 1e-3, 1e-5
"""From the reference data's README, as is 3 for 16-bit samples."""


def load_codec(stage: Stage) -> Codec:
    """The stage's semantic codec."""
    config = CodecConfig.read(stage.config.section("RepCodec"))
    return stage.module(lambda: Codec(config))


def load_s2mel(stage: Stage) -> S2Mel:
    """The stage's projector, regulator and flow."""
    config = S2MelConfig.read(stage.config.section("s2mel"), stage.config.integers("gpt_layer_dims"))
    return stage.module(lambda: S2Mel(config))


def load_vocoder(stage: Stage) -> BigVgan:
    """The stage's vocoder."""
    config = BigVganConfig.read(stage.config)
    return stage.module(lambda: BigVgan(config))


def codec(stage: Stage) -> None:
    """All tensors of the folder `semantic_codec`."""
    module = load_codec(stage)
    x = stage.input("x")
    encoded = module.encode(x)
    stage.compare("encoder_out", encoded, TOLERANCE)
    z = module.book.in_project(encoded.transpose(1, 2))
    stage.compare("z_e", z.transpose(1, 2), TOLERANCE)
    codes, quantised = module.quantize(x)
    stage.compare("indices", codes, 0)
    stage.compare("quantized", quantised, TOLERANCE)
    given = stage.input("codes")
    stage.compare("vq2emb", module.book.rows(given), TOLERANCE)
    stage.compare("vq2emb", module.table()[given], TOLERANCE)


def s2mel(stage: Stage) -> None:
    """All tensors of the folder `s2mel`."""
    module = load_s2mel(stage)
    stage.compare("gpt_layer_out", module.gpt_layer(stage.input("gpt_layer_in")), TOLERANCE)
    for name in stage.names("lr_"):
        match = re.fullmatch(r"lr_(\w+)_in", name)
        if match:
            frames = int(stage.input(f"lr_{match[1]}_ylen")[0])
            stage.compare(f"lr_{match[1]}_out", module.length_regulator(stage.input(name), frames), TOLERANCE)
    check_estimator(stage, module)
    check_solver(stage, module)


def check_estimator(stage: Stage, module: S2Mel) -> None:
    """One call of the velocity estimator, its inner taps, and the same with a padded row."""
    dit = module.cfm.estimator
    x, prompt, t, style, mu = (stage.input(f"dit_{name}") for name in ("x", "prompt_x", "t", "style", "mu"))
    tables = dit.at_time(t)
    merged = dit.merge(x, prompt, style, mu)
    stage.compare("dit_merge_out", merged, DEEP)
    y = dit.attend(merged, tables, None)
    stage.compare("dit_transformer_out", y, DEEP)
    if dit.config.long_skip:
        y = dit.skip_linear(torch.cat([y, x.transpose(1, 2)], dim=-1))
    stage.compare("dit_wavenet_out", dit.wavenet(dit.conv1(y).transpose(1, 2), tables.wavenet, None), DEEP)
    stage.compare("dit_velocity", dit(x, prompt, t, style, mu), DEEP)
    if stage.has("dit_x_lens"):
        stage.compare("dit_velocity", dit(x, prompt, t, style, mu, stage.input("dit_x_lens")), DEEP)
    if stage.has("ditpad_x_lens"):
        stage.compare("ditpad_velocity", dit(x, prompt, t, style, mu, stage.input("ditpad_x_lens")), DEEP)


def check_solver(stage: Stage, module: S2Mel) -> None:
    """The Euler solver at each stored number of steps and guidance rate."""
    mu, prompt, style, noise = (stage.input(f"cfm_{name}") for name in ("mu", "prompt", "style", "z"))
    for name, steps, rate in solver_runs(stage):
        stage.compare(name, module.cfm.solve(mu, prompt, style, noise, steps, rate), DEEP)


def solver_runs(stage: Stage) -> list[tuple[str, int, float]]:
    """Stored solver outputs with their steps and guidance rate: the rate as `cfm_runs` has it where it fits, else tenths (`r7` is 0.7)."""
    stated = [(run.integer("steps"), run.number("cfg_rate")) for run in stage.config.sections("cfm_runs")]
    runs = []
    for name in stage.names("cfm_out_"):
        match = re.fullmatch(r"cfm_out_s(\d+)_r([\d.]+)", name)
        if match:
            steps, digits = int(match[1]), match[2]
            fitting = [
                rate for count, rate in stated if count == steps and digits in (f"{10 * rate:g}", f"{100 * rate:g}", str(int(10 * rate)))
            ]
            runs.append((name, steps, fitting[0] if fitting else float(digits) / 10))
    return runs


def bigvgan(stage: Stage) -> None:
    """All tensors of the folder `bigvgan`."""
    module = load_vocoder(stage)
    x = module.conv_pre(stage.input("mel"))
    stage.compare("conv_pre", x, FRONT_END)
    first = module.up(0, x)
    stage.compare("ups0", first, FRONT_END)
    stage.compare("resblock0_act0", module.resblocks[0].activations[0](first), FRONT_END)  # type: ignore[operator, index]
    stage.compare("resblock0", module.resblocks[0](first), FRONT_END)
    for stage_index in range(len(module.ups)):
        x = module.mix(stage_index, module.up(stage_index, x))
    if stage.has("activation_post"):
        stage.compare("activation_post", module.activation_post(x)[..., : stage.io["activation_post"].shape[-1]], FRONT_END)
    stage.compare("wav", module(stage.input("mel")), TOLERANCE)
    if stage.has("mel_b2"):
        stage.compare("wav_b2", module(stage.input("mel_b2")), TOLERANCE)


def campplus(stage: Stage) -> None:
    """All tensors of the folder `campplus`."""
    config = CamPlusConfig.read(stage.config.section("CAMPPlus"))
    module = stage.module(lambda: CamPlus(config))
    head = module.head(stage.input("fbank").transpose(1, 2))
    taps = {"head_out_first": head, "block1_out_first": module.xvector.get_submodule("block1")(module.xvector.tdnn(head))}
    for start, tensor in taps.items():
        for name in stage.names(start):
            stage.compare(name, tensor[..., : int(name.removeprefix(start))], TOLERANCE)
    stage.compare("stats", module.xvector.stats(head), TOLERANCE)
    stage.compare("style", module(stage.input("fbank")), TOLERANCE)
    if stage.has("fbank_short"):
        stage.compare("style_short", module(stage.input("fbank_short")), TOLERANCE)


def w2vbert(stage: Stage) -> None:
    """All tensors of the folder `w2vbert`."""
    config = W2vBertConfig.read(stage.config.section("config"), stage.config.integer("hidden_states_index"))
    module = stage.module(lambda: W2vBert(config), ignored=W2V_EXTRAS)
    features = stage.input("input_features")
    stage.compare("hidden0", module.feature_projection(features), DEEP)
    hidden = module(features)
    stage.compare("hidden_used", hidden, DEEP)
    stage.compare("feat", (hidden - stage.input("mean")) / torch.sqrt(stage.input("var")), DEEP)


def features(stage: Stage) -> None:
    """All tensors of the folder `features`."""
    mel = stage.config.section("mel")
    fmax = mel.table.get("fmax")
    config = MelConfig(
        mel.integer("sr"),
        mel.integer("n_fft"),
        mel.integer("win"),
        mel.integer("hop"),
        mel.integer("n_mels"),
        mel.number("fmin"),
        None if fmax in (None, "None") else mel.number("fmax"),
    )
    stage.compare("mel", log_mel(stage.input("wav22k").numpy(), config)[None], FRONT_END)
    wave = stage.input("wav16k").numpy()
    stage.compare("kaldi_fbank", kaldi_fbank(wave), FRONT_END)
    stage.compare("kaldi_fbank_cmn", centred_fbank(wave), FRONT_END)
    rows, mask = seamless_features(wave)
    stage.compare("seamless_features", rows[None], FRONT_END)
    stage.compare("seamless_mask", mask[None], 0)


def sampler(stage: Stage) -> None:
    """All tensors of the folder `sampler`, in the order that its config states."""
    scores = stage.input("logits").numpy()
    seen = np.zeros(scores.shape, dtype=np.bool_)
    np.put_along_axis(seen, stage.input("history").numpy(), True, axis=1)
    steps: dict[str, tuple[str, Callable[[Logits, float], Logits]]] = {
        "repetition_penalty": ("after_rep", lambda s, v: penalised(s, seen, v)),
        "temperature": ("after_temp", lambda s, v: (s / np.float32(v)).astype(np.float32)),
        "top_k": ("after_topk", lambda s, v: top_k_only(s, int(v))),
        "top_p": ("after_topp", top_p_only),
    }
    for entry in stage.config.table["order"]:
        name, value = entry.split()
        start, step = steps[name]
        scores = step(scores, float(value))
        for tensor in stage.names(start):
            stage.compare(tensor, scores, SAMPLER)
    stage.compare("probs", softmax(scores), SAMPLER)


def emotion_vector(stage: Stage) -> None:
    """All tensors of the folder `emotion_vector`."""
    style, speakers, emotions = (stage.input(name).numpy() for name in ("style", "spk_matrix", "emo_matrix"))
    groups = stage.config.integers("emo_num")
    places = choose_rows(style[0], speakers, groups)
    stage.compare("row_index", places, 0)
    vector = mixed(stage.input("weights").tolist(), emotions[absolute_rows(places, groups)], stage.input("emovec_spk").numpy()[0])
    stage.compare("emovec", vector[None], TOLERANCE)


def chain(stage: Stage) -> None:
    """The whole chain, with the modules of the sibling folders."""
    mates = {name: sibling(stage, name) for name in ("gpt", "semantic_codec", "s2mel", "bigvgan")}
    codes, latent = _chain_codes(stage, mates["gpt"])
    stage.compare("codes", codes, 0)
    stage.compare("latent", latent, DEEP)
    book, flow, vocoder = load_codec(mates["semantic_codec"]).book, load_s2mel(mates["s2mel"]), load_vocoder(mates["bigvgan"])
    content = book.rows(codes) + flow.gpt_layer(latent)
    stage.compare("S_infer", content, DEEP)
    frames = frames_for_codes(codes.shape[1])
    stage.compare("ylen", torch.tensor([frames]), 0)
    ref_mel = stage.input("ref_mel")
    prompt_condition = flow.length_regulator(stage.input("S_ref"), ref_mel.shape[2])
    stage.compare("prompt_condition", prompt_condition, DEEP)
    condition = flow.length_regulator(content, frames)
    stage.compare("cond", condition, DEEP)
    mel = flow.cfm.solve(
        torch.cat([prompt_condition, condition], dim=1),
        ref_mel,
        stage.input("style"),
        stage.input("z"),
        stage.config.integer("steps"),
        stage.config.number("cfg_rate"),
    )[:, :, ref_mel.shape[2] :]
    stage.compare("mel", mel, DEEP)
    wave = vocoder(mel)
    stage.compare("wav", wave, TOLERANCE)
    stage.compare("pcm", torch.clamp(32767 * wave, -32767, 32767).to(torch.int16), 3)


def _chain_codes(stage: Stage, mate: Stage) -> tuple[Tensor, Tensor]:
    """Greedy codes at penalty 10, never stopping before the stored length, and their second-pass states."""
    gpt = parity_gpt.load(mate)
    emotion = gpt.merged_emotion(
        gpt.emotion_vector(mate.input("spk_feats")), gpt.emotion_vector(mate.input("emo_feats")), mate.config.number("alpha")
    )
    conditions = gpt.conditions(gpt.speaker_latents(mate.input("spk_feats")), emotion)
    text, count = mate.input("text_ids"), stage.io["codes"].shape[1]
    codes, _ = generate(gpt, gpt.prefix(conditions, text), Sampling(greedy=True), count, min_codes=count)
    tensor = torch.tensor([codes])
    return tensor, gpt.latents(conditions, text, tensor)


def sibling(stage: Stage, name: str) -> Stage:
    """Another stage folder beside this one. Raises `ModelMissing` if it is not there."""
    folder = Path(stage.folder.parent / name)
    if not folder.is_dir():
        raise ModelMissing(f"{stage.name}: needs the folder {name!r} beside it")
    return Stage.open(folder)
