"""The WaveNet at the end of the velocity estimator; convolutions pad by reflection. Specification 11.2 step 5."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Inner(nn.Module):
    """Two levels of naming around a convolution, as in the official file (`conv.conv`)."""

    def __init__(self, conv: nn.Conv1d, levels: int = 2) -> None:
        super().__init__()
        self.conv: nn.Module = conv if levels == 1 else Inner(conv, levels - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Pass through."""
        return self.conv(x)  # type: ignore[no-any-return]


class ReflectConv(Inner):
    """A convolution that keeps the length by reflecting the edges."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        super().__init__(nn.Conv1d(inputs, outputs, kernel, dilation=dilation))
        total = (kernel - 1) * dilation
        self.padding = (total - total // 2, total // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, T] -> [B, out, T]."""
        return super().forward(reflect(x, self.padding))


class WaveNet(nn.Module):
    """Gated residual convolutions; `conditions` come from a time embedding through `table`."""

    def __init__(self, width: int, layers: int, kernel: int, dilation_rate: int) -> None:
        super().__init__()
        self.width, self.count = width, layers
        self.cond_layer = Inner(nn.Conv1d(width, 2 * width * layers, 1))
        self.in_layers = nn.ModuleList(ReflectConv(width, 2 * width, kernel, dilation_rate**i) for i in range(layers))
        outputs = [2 * width] * (layers - 1) + [width]
        self.res_skip_layers = nn.ModuleList(Inner(nn.Conv1d(width, n, 1)) for n in outputs)

    def forward(self, x: Tensor, conditions: Tensor, mask: Tensor | None) -> Tensor:
        """x [B, C, T], conditions [B, layers, 2C], mask [B, 1, T] or None -> [B, C, T]."""
        total = torch.zeros_like(x)
        for i in range(self.count):
            gates = self.in_layers[i](x) + conditions[:, i, :, None]
            gated = torch.tanh(gates[:, : self.width]) * torch.sigmoid(gates[:, self.width :])
            out = self.res_skip_layers[i](gated)
            if i < self.count - 1:
                x = x + out[:, : self.width]
                x = x if mask is None else x * mask
                out = out[:, self.width :]
            total = total + out
        return total if mask is None else total * mask

    def table(self, time: Tensor) -> Tensor:
        """Time embedding [B, C] -> one condition per layer [B, layers, 2C]."""
        return self.cond_layer(time[:, :, None]).reshape(time.shape[0], self.count, 2 * self.width)  # type: ignore[no-any-return]


def reflect(x: Tensor, padding: tuple[int, int]) -> Tensor:
    """Reflect the edges; a signal too short to reflect is first lengthened with zeros, as EnCodec's convolutions do."""
    missing = max(0, max(padding) - x.shape[-1] + 1)
    if missing:
        x = F.pad(x, (0, missing))
    y = F.pad(x, padding, mode="reflect")
    return y[..., : y.shape[-1] - missing] if missing else y
