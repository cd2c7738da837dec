"""State dicts as they stand in files -> as our modules hold them, strictly.

Two changes on the way: float16 and bfloat16 become float32, and weight norm (Salimans and Kingma 2016; either naming) is folded into
a plain `weight`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from realtime.errors import BadOption, ModelMissing

M = TypeVar("M", bound=nn.Module)
PAIRS = ((".weight_g", ".weight_v"), (".parametrizations.weight.original0", ".parametrizations.weight.original1"))


def build(make: Callable[[], M], state: Mapping[str, Tensor], source: str, ignored: Iterable[str] = ()) -> M:
    """A module holding exactly the tensors of a file, in eval mode.

    `ignored` are patterns of keys that the file may have in excess. Raises `ModelMissing` naming `source` and the first key that is
    missing, unknown or of another shape.
    """
    try:
        with torch.device("meta"):
            module = make()
    except (RuntimeError, ValueError, TypeError, ArithmeticError) as error:
        raise ModelMissing(f"{source}: its config's sizes make no model: {error}") from None
    plain = folded(state, source)
    check(module, plain, source, ignored)
    module.load_state_dict({k: plain[k] for k in module.state_dict()}, strict=True, assign=True)
    module.requires_grad_(False)
    return module.eval()


def check(module: nn.Module, state: Mapping[str, Tensor], source: str, ignored: Iterable[str] = ()) -> None:
    """Raise `ModelMissing` unless `state` fits: all keys, equal shapes, nothing else but what `ignored` matches."""
    wanted = module.state_dict()
    for key, tensor in wanted.items():
        if key not in state:
            raise ModelMissing(f"{source}: key {key!r} {list(tensor.shape)} is missing; another version, or not this model's file")
        if state[key].shape != tensor.shape:
            raise ModelMissing(
                f"{source}: key {key!r} has shape {list(state[key].shape)}, its config asks for {list(tensor.shape)}; "
                "weights and config.yaml are not of the same model"
            )
    try:
        patterns = [re.compile(p) for p in ignored]
    except re.error as error:
        raise BadOption(f"pattern of keys to ignore: {error}") from None
    for key in state:
        if key not in wanted and not any(p.fullmatch(key) for p in patterns):
            raise ModelMissing(
                f"{source}: key {key!r} is unknown; another version, or not this model's file (if you know that nothing needs it: "
                "`models export --option ignore=PATTERN`)"
            )


def folded(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Plain float32 weights: half precision widened, `weight_g`/`weight_v` pairs multiplied out."""
    plain: dict[str, Tensor] = {}
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise ModelMissing(f"{source}: key {key!r} is a {type(value).__name__}, not a tensor")
        for gain_end, direction_end in PAIRS:
            if key.endswith(gain_end):
                direction = state.get(key.removesuffix(gain_end) + direction_end)
                if direction is None:
                    raise ModelMissing(f"{source}: key {key!r} has no partner {direction_end!r}")
                plain[key.removesuffix(gain_end) + ".weight"] = weight_norm(value.float(), direction.float())
                break
            if key.endswith(direction_end):
                break
        else:
            plain[key] = value.float() if value.is_floating_point() else value
    return plain


def weight_norm(gain: Tensor, direction: Tensor) -> Tensor:
    """g * v / |v|, the norm over all dimensions but the first (also for transposed convolutions)."""
    norm = torch.linalg.vector_norm(direction.flatten(1), dim=1).reshape(-1, *[1] * (direction.dim() - 1))
    return torch.mul(direction, gain.reshape(norm.shape) / norm)
