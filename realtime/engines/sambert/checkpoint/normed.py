"""Weight normalisation as the published generator stores it: old-style pairs over dim 0."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NormedWeight(nn.Module):
    """Weight (normalised pair, or plain) and optional bias of one convolution, with the published names inside."""

    def __init__(self, shape: tuple[int, ...], out: int, is_normed: bool, has_bias: bool) -> None:
        super().__init__()
        if is_normed:
            self.weight_g = nn.Parameter(torch.ones(shape[0], *(1,) * (len(shape) - 1)))
            self.weight_v = nn.Parameter(torch.zeros(shape))
        else:
            self.weight = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(out)) if has_bias else None
        self.is_normed = is_normed

    def folded(self) -> Tensor:
        """v * g / ||v||, the norm over all dims but the first (which is the *input* channel of a transposed convolution)."""
        if not self.is_normed:
            return self.weight
        dims = tuple(range(1, self.weight_v.dim()))
        out: Tensor = self.weight_v * (self.weight_g / torch.linalg.vector_norm(self.weight_v, dim=dims, keepdim=True))
        return out
