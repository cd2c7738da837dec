"""The building blocks that several parts of the acoustic model share. Shapes: B utterances, T positions, channels last.

Everything is functional and in inference form: no dropout, no state kept in modules. Module names follow the published checkpoints.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYER_NORM_EPS = 1e-6
Part = TypeVar("Part", bound=nn.Module)


def parts(of: nn.Module, kind: type[Part]) -> list[Part]:
    """The members of a module list, as what they are (torch itself calls each of them just a module)."""
    out = []
    for part in of.children():
        assert isinstance(part, kind), f"{type(part).__name__} among {kind.__name__}"
        out.append(part)
    return out


def lstm_weight(lstm: nn.LSTM, name: str) -> Tensor:
    """A weight of an LSTM by its published name, as `weight_ih_l0`."""
    found = lstm.get_parameter(name)
    assert isinstance(found, Tensor)
    return found


class SelfAttention(nn.Module):
    """Pre-norm multi-head self-attention `width_in -> units`; the residual is added only where the widths match."""

    def __init__(self, width_in: int, units: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.d_head = units // heads
        self.layer_norm = nn.LayerNorm(width_in, eps=LAYER_NORM_EPS)
        self.w_qkv = nn.Linear(width_in, 3 * units)
        self.fc = nn.Linear(units, units)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B,T,width_in], padding [B,T] true beyond the end -> (out [B,T,units], attention [B,heads,T,T])."""
        q, k, v = (self._heads(part) for part in self.w_qkv(self.layer_norm(x)).chunk(3, dim=-1))
        scores = q @ k.transpose(-1, -2) / self.d_head**0.5
        if padding is not None:
            scores = scores.masked_fill(padding[:, None, None, :], float("-inf"))
        attention = torch.softmax(scores, dim=-1)
        out = self.fc((attention @ v).transpose(1, 2).flatten(2))
        return (out + x if out.shape[-1] == x.shape[-1] else out), attention

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, self.d_head).transpose(1, 2)


class FeedForward(nn.Module):
    """Pre-norm position-wise network: convolution (kernel `size`), ReLU, convolution (kernel 1), residual."""

    def __init__(self, units: int, inner: int, size: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(units, eps=LAYER_NORM_EPS)
        self.w_1 = nn.Conv1d(units, inner, size, padding=(size - 1) // 2)
        self.w_2 = nn.Conv1d(inner, units, 1)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """x [B,T,units] -> same shape; inner activations beyond the end are zeroed."""
        inner = torch.relu(self.w_1(self.layer_norm(x).transpose(1, 2)))
        if padding is not None:
            inner = inner.masked_fill(padding[:, None, :], 0.0)
        out: Tensor = x + self.w_2(inner).transpose(1, 2)
        return out


class FsmnFeedForward(nn.Module):
    """The two 1x1 convolutions in front of a memory block; the second has no bias."""

    def __init__(self, width_in: int, inner: int, units: int) -> None:
        super().__init__()
        self.w_1 = nn.Conv1d(width_in, inner, 1)
        self.w_2 = nn.Conv1d(inner, units, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B,width_in,T] -> [B,units,T]."""
        out: Tensor = self.w_2(torch.relu(self.w_1(x)))
        return out


class MemoryBlock(nn.Module):
    """Depth-wise convolution over time with `left` past and `right` future taps, plus its input."""

    def __init__(self, units: int, size: int, shift: int) -> None:
        super().__init__()
        self.left, self.right = memory_taps(size, shift)
        self.conv_dw = nn.Conv1d(units, units, size, groups=units, bias=False)

    def forward(self, c: Tensor) -> Tensor:
        """c [B,units,T] -> same shape."""
        out: Tensor = self.conv_dw(F.pad(c, (self.left, self.right))) + c
        return out


def memory_taps(size: int, shift: int) -> tuple[int, int]:
    """(past, future) frames that a memory block of `size` taps sees; a shift moves taps from the future to the past."""
    left, right = round((size - 1) / 2), (size - 1) // 2
    return (left + shift, right - shift) if shift > 0 else (left, right)


class Fsmn(nn.Module):
    """Stack of feed-forward and memory block pairs, with a skip wherever the widths match (specification 5.3)."""

    def __init__(self, width_in: int, units: int, inner: int, size: int, layers: int, shift: int | tuple[int, ...]) -> None:
        super().__init__()
        shifts = (shift,) * layers if isinstance(shift, int) else shift
        widths = (width_in,) + (units,) * (layers - 1)
        self.ffn_lst = nn.ModuleList(FsmnFeedForward(width, inner, units) for width in widths)
        self.memory_block_lst = nn.ModuleList(MemoryBlock(units, size, one) for one in shifts)

    @property
    def look_ahead(self) -> int:
        """Future frames that the whole stack sees."""
        return sum(block.right for block in parts(self.memory_block_lst, MemoryBlock))

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """x [B,T,width_in], padding [B,T] true beyond the end -> [B,T,units]."""
        x = x.transpose(1, 2)
        for ffn, memory in zip(self.ffn_lst, self.memory_block_lst, strict=True):
            c = ffn(x)
            if padding is not None:
                c = c.masked_fill(padding[:, None, :], 0.0)
            m = memory(c)
            if padding is not None:
                m = m.masked_fill(padding[:, None, :], 0.0)
            x = m + x if m.shape[1] == x.shape[1] else m
        return x.transpose(1, 2)


class Prenet(nn.Module):
    """Linear, ReLU, (dropout) per entry of `units`, then one more Linear if `out` is given. Keys `fcs.0`, `fcs.3`, ..."""

    def __init__(self, width_in: int, units: tuple[int, ...], out: int | None) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for width in units:
            # nn.Identity stands where training has its dropout, to keep the published indices.
            parts += [nn.Linear(width_in, width), nn.ReLU(), nn.Identity()]
            width_in = width
        if out is not None:
            parts.append(nn.Linear(width_in, out))
        self.fcs = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., width_in] -> [..., out or the last of units]."""
        out: Tensor = self.fcs(x)
        return out


def sinusoid_table(rows: int, width: int) -> Tensor:
    """Position code [rows, width]: sines in the left half, cosines in the right, positions counted from 1. Made in float64."""
    half = width // 2
    position = torch.arange(1, rows + 1, dtype=torch.float64)[:, None]
    angle = position / 10000.0 ** (torch.arange(half, dtype=torch.float64) / (width / 2 - 1))
    return torch.cat([angle.sin(), angle.cos()], dim=1).to(torch.float32)
