"""The serving runtime in float32 against the same reference data: language model, regulator, flow, vocoder, and the chain of them.

What an export serves at lower precision is not judged here: its distance is measured by `realtime bench engine indextts2`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np

from realtime.engines.indextts2.acoustic import drained
from realtime.engines.indextts2.checkpoint import parity_gpt, parity_sound
from realtime.engines.indextts2.checkpoint.stage import Stage, read_tensors
from realtime.engines.indextts2.decode import Decoder
from realtime.engines.indextts2.flow import Estimator, FlowShape
from realtime.engines.indextts2.frames import frames_for_codes
from realtime.engines.indextts2.kernels import Kernels, load_kernels
from realtime.engines.indextts2.kernels.packing import Floats, Kind
from realtime.engines.indextts2.kv_pages import PagePool, pages_for
from realtime.engines.indextts2.lm import LanguageModel, LmShape, LmWeights
from realtime.engines.indextts2.regulator import Regulator
from realtime.engines.indextts2.sampler import Sampling
from realtime.engines.indextts2.solve import Schedule, Solver
from realtime.engines.indextts2.store import Tensors
from realtime.engines.indextts2.vocode import Vocoder, VocoderShape

DEEP, TOLERANCE = parity_gpt.DEEP, parity_gpt.TOLERANCE


@lru_cache(maxsize=1)
def kernels() -> Kernels:
    """The compiled kernels on one thread, or their stand-in where they can't be compiled."""
    return load_kernels(1)


def runtime() -> str:
    """How a line names the serving side: the kernels that ran."""
    return f"serving/{kernels().name}"


def weights(stage: Stage) -> Tensors:
    """A stage's tensors as the serving side reads them."""
    return {name: tensor.numpy() for name, tensor in read_tensors(stage.folder / "weights.safetensors").items()}


def gpt(stage: Stage) -> None:
    """Forced and greedy decoding with the paged cache at official positions, and latents without a second pass at training ones."""
    config = stage.config.section("UnifiedVoice").table
    tensors, shape = weights(stage), LmShape.of(config)
    conditions, text = stage.input("conds")[0].numpy(), stage.input("text_ids")[0].tolist()
    forced = stage.input("forced_codes")[0].tolist()
    limit = stage.config.integer("max_generate_length")
    positions = len(conditions) + len(text) + 4 + max(limit, len(forced))

    def decoder(offset: int) -> Decoder:
        pool = PagePool(4 * pages_for(positions), shape.layers, shape.heads, shape.model_dim // shape.heads, half=False)
        return Decoder(LanguageModel(kernels(), LmWeights.of(tensors, shape, Kind.F32), shape, pool), offset)

    official = decoder(2)
    states, pages = _forced(official, conditions, text, forced)
    stage.compare("decode_hidden_pos2", states[None, 1:], DEEP, runtime())
    stage.compare("decode_logits_pos2", official.model.logits(states)[None], DEEP, runtime())
    keys, _ = official.pool.read(pages, shape.layers - 1, len(conditions) + len(text) + 3 + len(forced))
    stage.compare("final_k_last_pos2", keys[None], DEEP, runtime())
    training, _ = _forced(decoder(1), conditions, text, forced)
    stage.compare("latents", training[None, :-1], DEEP, runtime())
    for name in stage.names("greedy_codes_"):
        match = re.fullmatch(r"greedy_codes_rp(\d+)(?:_min(\d+))?", name)
        if match and shape.start_mel_token not in stage.io[name]:  # serving never says the start code; random weights may
            codes = _greedy(decoder(2), conditions, text, float(match[1]), limit, int(match[2] or 0))
            stage.compare(name, np.array([codes]), 0, runtime())


def _forced(decoder: Decoder, conditions: Floats, text: list[int], codes: list[int]) -> tuple[Floats, list[int]]:
    """States before each of `codes` and after the last [N + 1, D], rows fed one by one behind the prompt; and the pages they fill."""
    w = decoder.model.weights
    prompt = np.concatenate([conditions, decoder.text_rows(text)])
    fed = [w.codes[code].astype(np.float32) + w.code_positions[k + decoder.offset] for k, code in enumerate(codes)]
    pages = decoder.pool.take(pages_for(len(prompt) + len(fed)))
    states = []
    at = 0
    for rows in (prompt, *(row[None] for row in fed)):
        positions = np.arange(at, at + len(rows), dtype=np.int32)
        tables = np.tile(np.array(pages, dtype=np.int32), (len(rows), 1))
        states.append(decoder.model.forward(np.ascontiguousarray(rows, dtype=np.float32), positions, tables)[-1].copy())
        at += len(rows)
    return np.stack(states), pages


def _greedy(decoder: Decoder, conditions: Floats, text: list[int], penalty: float, limit: int, at_least: int) -> list[int]:
    """What the decoder says, the stop code included if it came."""
    sampling = Sampling(repetition_penalty=penalty, greedy=True)
    sequence = decoder.start(decoder.prefix(conditions), text, sampling, 0, limit, at_least)
    while not sequence.is_finished:
        decoder.step([sequence])
    return [*sequence.codes, *([decoder.model.shape.stop_mel_token] if sequence.is_stopped else [])]


def s2mel(stage: Stage) -> None:
    """Projector, regulator, one velocity per row, and the solver."""
    tensors = weights(stage)
    estimator = Estimator(kernels(), tensors, FlowShape.of(stage.config.section("s2mel").table), Kind.F32)
    for b in range(len(stage.input("dit_x"))):
        x, prompt, mu, style = (stage.input(f"dit_{name}")[b].numpy() for name in ("x", "prompt_x", "mu", "style"))
        static = estimator.static(mu, np.ascontiguousarray(prompt.T), style)
        velocity = drained(estimator.steps(np.ascontiguousarray(x.T), static, estimator.table(float(stage.input("dit_t")[b]))))
        stage.compare_part("dit_velocity", b, velocity.T, DEEP, runtime())
    mu, mel, style, noise = (stage.input(f"cfm_{name}")[0].numpy() for name in ("mu", "prompt", "style", "z"))
    for name, steps, rate in parity_sound.solver_runs(stage):
        found = _solved(estimator, mu, mel, style, noise, Schedule(steps, rate))
        stage.compare(name, np.pad(found.T, ((0, 0), (mel.shape[1], 0)))[None], DEEP, runtime())


def _solved(estimator: Estimator, mu: Floats, prompt: Floats, style: Floats, noise: Floats, schedule: Schedule) -> Floats:
    """Mel behind the prompt [F, mels] from arrays as the reference stores them, [mels, T]."""
    given = np.zeros_like(noise)
    given[:, : prompt.shape[1]] = prompt
    static = estimator.static(mu, np.ascontiguousarray(given.T), style)
    return drained(Solver(estimator).steps(np.ascontiguousarray(noise.T), static, prompt.shape[1], schedule))


def bigvgan(stage: Stage) -> None:
    """Every mel of the stage, one at a time."""
    vocoder = _vocoder(stage)
    for mel, wave in (("mel", "wav"), ("mel_b2", "wav_b2")):
        if stage.has(mel):
            found = [vocoder.run(np.ascontiguousarray(one.numpy().T)) for one in stage.input(mel)]
            stage.compare(wave, np.stack(found)[:, None], TOLERANCE, runtime())


def _vocoder(stage: Stage) -> Vocoder:
    return Vocoder(kernels(), weights(stage), VocoderShape.of(stage.config.table), Kind.F32)


def chain(stage: Stage) -> None:
    """From codes and latents to samples."""
    mates = {name: parity_sound.sibling(stage, name) for name in ("semantic_codec", "s2mel", "bigvgan")}
    tensors: dict[str, Any] = {name: weights(mate) for name, mate in mates.items()}
    regulator = Regulator(kernels(), tensors["s2mel"], tensors["semantic_codec"])
    codes, latent = stage.input("codes")[0].tolist(), stage.input("latent")[0].numpy()
    content = regulator.content(codes, latent)
    stage.compare("S_infer", content[None], DEEP, runtime())
    ref_mel = stage.input("ref_mel")[0].numpy()
    prompt = regulator.run(stage.input("S_ref")[0].numpy(), ref_mel.shape[1])
    stage.compare("prompt_condition", prompt[None], DEEP, runtime())
    condition = regulator.run(content, frames_for_codes(len(codes)))
    stage.compare("cond", condition[None], DEEP, runtime())
    estimator = Estimator(kernels(), tensors["s2mel"], FlowShape.of(mates["s2mel"].config.section("s2mel").table), Kind.F32)
    schedule = Schedule(stage.config.integer("steps"), stage.config.number("cfg_rate"))
    mu, style, noise = np.concatenate([prompt, condition]), stage.input("style")[0].numpy(), stage.input("z")[0].numpy()
    mel = _solved(estimator, mu, ref_mel, style, noise, schedule)
    stage.compare("mel", mel.T[None], DEEP, runtime())
    wave = _vocoder(mates["bigvgan"]).run(mel)
    stage.compare("wav", wave[None, None], TOLERANCE, runtime())
    pcm = np.clip(32767 * wave, -32767, 32767).astype(np.int16)
    stage.compare("pcm", pcm[None, None], 3, runtime())
