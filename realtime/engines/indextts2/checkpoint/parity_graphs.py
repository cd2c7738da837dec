"""The exported graphs in ONNX Runtime against reference data: each is exported to a temporary folder, weights beside it, and run."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from safetensors.torch import save_file
from torch import nn

from realtime.engines.indextts2.checkpoint import parity_gpt, parity_sound
from realtime.engines.indextts2.checkpoint.graphs import Graph, content_graph, flow_graphs, language_graphs, vocoder_graph
from realtime.engines.indextts2.checkpoint.onnx_file import write_graph
from realtime.engines.indextts2.checkpoint.stage import Stage
from realtime.engines.indextts2.frames import nearest_rows

RUNTIME = "onnxruntime"
DEEP, TOLERANCE = parity_gpt.DEEP, parity_gpt.TOLERANCE
Array = npt.NDArray[np.generic]


class Sessions:
    """Graphs by name, each called with named arrays."""

    def __init__(self, folder: Path, paths: Iterable[Path]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.folder = folder
        self.sessions = {p.stem: onnxruntime.InferenceSession(str(p), options, providers=["CPUExecutionProvider"]) for p in paths}

    def __call__(self, name: str, **inputs: Array) -> list[npt.NDArray[np.float32]]:
        """Outputs of one graph."""
        return list(self.sessions[name].run(None, inputs))


@contextmanager
def exported(graphs: Iterable[Graph], *models: nn.Module) -> Iterator[Sessions]:
    """Export graphs over the joint weights of `models`, and open them."""
    with tempfile.TemporaryDirectory(prefix="realtime-parity-") as folder:
        weights = Path(folder) / "weights.safetensors"
        state = {k: v.clone().contiguous() for model in models for k, v in model.state_dict().items()}
        save_file(state, weights)
        yield Sessions(Path(folder), [write_graph(graph, weights) for graph in graphs])


def gpt(stage: Stage) -> None:
    """Prefill and step-by-step decoding of the forced codes, and the second pass, through the exported graphs."""
    model = parity_gpt.load(stage)
    c = model.config
    with exported(language_graphs(model), model) as run:
        text = np.pad(stage.input("text_ids").numpy(), ((0, 0), (1, 1)), constant_values=((0, 0), (c.start_text, c.stop_text)))
        prefix = np.concatenate([stage.input("conds").numpy(), run("text_rows", ids=text)[0]], axis=1)
        stage.compare("prefix_embeds", prefix, DEEP, RUNTIME)
        codes = stage.input("forced_codes").numpy()
        start = np.full((1, 1), c.start_code)
        empty = np.zeros((c.layers, 1, c.heads, 0, c.dim // c.heads), dtype=np.float32)
        second = np.concatenate([start, codes, np.full((1, 1), c.stop_code)], axis=1)
        rows = run("code_rows", codes=second, positions=np.arange(second.shape[1]))[0]
        hidden, *_ = run("language_model", rows=np.concatenate([prefix, rows], axis=1), past_keys=empty, past_values=empty)
        stage.compare("latents", hidden[:, prefix.shape[1] : -2], DEEP, RUNTIME)
        first = np.concatenate([prefix, rows[:, :1]], axis=1)
        state = run("language_model", rows=first, past_keys=empty, past_values=empty)
        stage.compare("prefill_k_last", state[2][-1], DEEP, RUNTIME)
        logits, hiddens = [state[1]], []
        for k in range(codes.shape[1]):
            row = run("code_rows", codes=codes[:, k : k + 1], positions=np.array([k + 2]))[0]
            state = run("language_model", rows=row, past_keys=state[2], past_values=state[3])
            logits.append(state[1])
            hiddens.append(state[0][:, -1])
        stage.compare("decode_logits_pos2", np.stack(logits, axis=1), DEEP, RUNTIME)
        stage.compare("decode_hidden_pos2", np.stack(hiddens, axis=1), DEEP, RUNTIME)
        stage.compare("final_k_last_pos2", state[2][-1], DEEP, RUNTIME)


def s2mel(stage: Stage) -> None:
    """Regulator, one estimator call, and the solver over the exported estimator."""
    model = parity_sound.load_s2mel(stage)
    with exported(flow_graphs(model), model) as run:
        for name in stage.names("lr_"):
            match = re.fullmatch(r"lr_(\w+)_in", name)
            if match:
                content, frames = stage.input(name).numpy(), int(stage.input(f"lr_{match[1]}_ylen")[0])
                out = run("regulator", content=content, rows=nearest_rows(content.shape[1], frames))[0]
                stage.compare(f"lr_{match[1]}_out", out, TOLERANCE, RUNTIME)
        x, prompt, t, style, mu = (stage.input(f"dit_{name}").numpy() for name in ("x", "prompt_x", "t", "style", "mu"))
        stage.compare("dit_velocity", run("estimator", x=x, prompt=prompt, t=t, style=style, mu=mu)[0], DEEP, RUNTIME)
        mu, prompt, style, noise = (stage.input(f"cfm_{name}").numpy() for name in ("mu", "prompt", "style", "z"))
        for name, steps, rate in parity_sound.solver_runs(stage):
            stage.compare(name, _solve(run, mu, prompt, style, noise, steps, rate), DEEP, RUNTIME)


def _solve(
    run: Sessions,
    mu: npt.NDArray[np.float32],
    prompt: npt.NDArray[np.float32],
    style: npt.NDArray[np.float32],
    noise: npt.NDArray[np.float32],
    steps: int,
    rate: float,
) -> npt.NDArray[np.float32]:
    """Euler as in `s2mel.Cfm.solve`."""
    known = prompt.shape[2]
    full = np.pad(prompt, ((0, 0), (0, 0), (0, noise.shape[2] - known)))
    pair = [np.concatenate([y, np.zeros_like(y)]) for y in (full, style, mu)]
    times = np.linspace(0, 1, steps + 1, dtype=np.float32)
    x = noise.copy()
    x[..., :known] = 0
    for k in range(steps):
        both = run("estimator", x=np.concatenate([x, x]), prompt=pair[0], t=times[[k, k]], style=pair[1], mu=pair[2])[0]
        velocity = (1 + rate) * both[:1] - rate * both[1:]
        x = (x + (times[k + 1] - times[k]) * velocity).astype(np.float32)
        x[..., :known] = 0
    return x


def bigvgan(stage: Stage) -> None:
    """The exported vocoder."""
    model = parity_sound.load_vocoder(stage)
    with exported([vocoder_graph(model)], model) as run:
        stage.compare("wav", run("vocoder", mel=stage.input("mel").numpy())[0], TOLERANCE, RUNTIME)
        if stage.has("mel_b2"):
            stage.compare("wav_b2", run("vocoder", mel=stage.input("mel_b2").numpy())[0], TOLERANCE, RUNTIME)


def chain(stage: Stage) -> None:
    """From codes and latents to samples through the exported graphs; the language model is in its own stage."""
    mates = {name: parity_sound.sibling(stage, name) for name in ("semantic_codec", "s2mel", "bigvgan")}
    codec, flow = parity_sound.load_codec(mates["semantic_codec"]), parity_sound.load_s2mel(mates["s2mel"])
    vocoder = parity_sound.load_vocoder(mates["bigvgan"])
    graphs = [content_graph(codec, flow), *flow_graphs(flow)]
    with exported(graphs, codec, flow) as run, exported([vocoder_graph(vocoder)], vocoder) as speak:
        codes, latent = stage.input("codes").numpy(), stage.input("latent").numpy()
        content = run("content", codes=codes, hidden=latent)[0]
        stage.compare("S_infer", content, DEEP, RUNTIME)
        ref_mel, s_ref, frames = stage.input("ref_mel").numpy(), stage.input("S_ref").numpy(), int(stage.input("ylen")[0])
        prompt = run("regulator", content=s_ref, rows=nearest_rows(s_ref.shape[1], ref_mel.shape[2]))[0]
        condition = run("regulator", content=content, rows=nearest_rows(content.shape[1], frames))[0]
        stage.compare("cond", condition, DEEP, RUNTIME)
        mu = np.concatenate([prompt, condition], axis=1)
        steps, rate = stage.config.integer("steps"), stage.config.number("cfg_rate")
        mel = _solve(run, mu, ref_mel, stage.input("style").numpy(), stage.input("z").numpy(), steps, rate)[:, :, ref_mel.shape[2] :]
        stage.compare("mel", mel, DEEP, RUNTIME)
        wave = speak("vocoder", mel=mel)[0]
        stage.compare("wav", wave, TOLERANCE, RUNTIME)
        stage.compare("pcm", torch.clamp(32767 * torch.from_numpy(wave), -32767, 32767).to(torch.int16), 3, RUNTIME)
