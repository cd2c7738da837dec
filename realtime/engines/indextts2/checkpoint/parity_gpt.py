"""The language model against reference data: encoders, prefix, decoding, second pass, caches, batches, beams."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from realtime.engines.indextts2.checkpoint.configs import GptConfig
from realtime.engines.indextts2.checkpoint.generate import beam_search, generate, left_padded, prefill
from realtime.engines.indextts2.checkpoint.gpt import Gpt
from realtime.engines.indextts2.checkpoint.stage import Stage
from realtime.engines.indextts2.sampler import Sampling

TOLERANCE = 1e-4
DEEP = 2e-4
"""For what passes many layers; both from the reference data's README."""


def load(stage: Stage) -> Gpt:
    """The stage's language model."""
    config = GptConfig.read(stage.config.section("UnifiedVoice"))
    return stage.module(lambda: Gpt(config))


def run(stage: Stage) -> None:
    """All tensors of the folder `gpt`."""
    gpt = load(stage)
    conditions, prefix = check_conditions(stage, gpt)
    check_generation(stage, gpt, prefix)
    check_forced(stage, gpt, conditions, prefix)
    check_batch(stage, gpt, conditions)


def check_conditions(stage: Stage, gpt: Gpt) -> tuple[Tensor, Tensor]:
    """Encoders and the prefix; returns conditions and prefix rows."""
    spk, emo = stage.input("spk_feats"), stage.input("emo_feats")
    stage.compare("spk_conformer", gpt.conditioning_encoder(spk), TOLERANCE)
    stage.compare("emo_conformer", gpt.emo_conditioning_encoder(emo), TOLERANCE)
    latents = gpt.speaker_latents(spk)
    stage.compare("spk_latents", latents, TOLERANCE)
    stage.compare("emo_perceiver", gpt.emo_perceiver_encoder(gpt.emo_conditioning_encoder(emo))[:, 0], TOLERANCE)
    base, other = gpt.emotion_vector(spk), gpt.emotion_vector(emo)
    stage.compare("emovec_spk", base, DEEP)
    stage.compare("emovec_emo", other, DEEP)
    merged = gpt.merged_emotion(base, other, stage.config.number("alpha"))
    for name in stage.names("emovec_merged_a"):
        stage.compare(name, merged, DEEP)
    conditions = gpt.conditions(latents, merged)
    stage.compare("conds", conditions, DEEP)
    prefix = gpt.prefix(conditions, stage.input("text_ids"))
    stage.compare("prefix_embeds", prefix, DEEP)
    return conditions, prefix


def check_generation(stage: Stage, gpt: Gpt, prefix: Tensor) -> None:
    """Greedy codes at each penalty, and beams."""
    limit = stage.config.integer("max_generate_length")
    for name in stage.names("greedy_codes_"):
        match = re.fullmatch(r"greedy_codes_rp(\d+)(?:_min(\d+))?", name)
        if match:
            sampling = Sampling(repetition_penalty=float(match[1]), greedy=True)
            codes, _ = generate(gpt, prefix, sampling, limit, min_codes=int(match[2] or 0))
            stage.compare(name, torch.tensor([codes]), 0)
    for name in stage.names("beam"):
        match = re.fullmatch(r"beam(\d+)_codes_rp(\d+)_lp0", name)
        if match:
            stage.compare(name, torch.tensor([beam_search(gpt, prefix, int(match[1]), float(match[2]), limit)]), 0)


def check_forced(stage: Stage, gpt: Gpt, conditions: Tensor, prefix: Tensor) -> None:
    """Forced codes through the second pass and through step-by-step decoding, with the cache's contents."""
    codes, text = stage.input("forced_codes"), stage.input("text_ids")
    second = gpt.second_pass(conditions, text, codes)
    stage.compare("tf_logits_pos1", gpt.logits(second), DEEP)
    stage.compare("latents", second[:, :-2], DEEP)
    steps = prefill(gpt, prefix)
    for layer, place in ((0, "layer0"), (-1, "last")):
        stage.compare(f"prefill_k_{place}", steps.cache.keys[layer], DEEP)
        stage.compare(f"prefill_v_{place}", steps.cache.values[layer], DEEP)
    logits, hidden = [steps.logits], []
    for code in codes[0]:
        steps.feed(code[None])
        logits.append(steps.logits)
        hidden.append(steps.hidden)
    stage.compare("decode_logits_pos2", torch.stack(logits, dim=1), DEEP)
    stage.compare("decode_hidden_pos2", torch.stack(hidden, dim=1), DEEP)
    stage.compare("final_k_last_pos2", steps.cache.keys[-1], DEEP)


def check_batch(stage: Stage, gpt: Gpt, conditions: Tensor) -> None:
    """Two rows of different length, padded on the left; the shorter one also alone."""
    if not stage.has("batch_text_ids"):
        return
    stop = gpt.config.stop_text
    texts = [row[: int((row != stop).sum())] for row in stage.input("batch_text_ids")]
    codes = stage.input("batch_forced_codes")
    rows, attended = left_padded(gpt, conditions, texts)
    stage.compare("batch_attention_mask", attended.long(), 0)
    together = forced_logits(gpt, rows, codes, attended)
    stage.compare("batch_decode_logits_pos2", together, DEEP)
    alone = [forced_logits(gpt, gpt.prefix(conditions, text[None]), codes[i : i + 1]) for i, text in enumerate(texts)]
    stage.compare("batch_decode_logits_pos2", torch.cat(alone), DEEP)


def forced_logits(gpt: Gpt, prefix: Tensor, codes: Tensor, attended: Tensor | None = None) -> Tensor:
    """Logits after the prefix and after each of codes [B, N]: [B, N + 1, V]."""
    steps = prefill(gpt, prefix, attended=attended)
    logits = [steps.logits]
    for column in codes.T:
        steps.feed(column)
        logits.append(steps.logits)
    return torch.stack(logits, dim=1)
