"""The semantic codec (MaskGCT's RepCodec): features to codes at enrolment, codes to rows at run time. Specification section 9."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realtime.engines.indextts2.checkpoint.configs import CodecConfig

EPS = 1e-6
KERNEL = 7


class ConvNext(nn.Module):
    """ConvNeXt block over time (Liu et al. 2022): depthwise, LayerNorm, two linears with GELU, scaled, residual."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.pwconv1, self.pwconv2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C, T]."""
        y = self.pwconv2(F.gelu(self.pwconv1(self.norm(self.dwconv(x).transpose(1, 2)))))
        return x + (self.gamma * y).transpose(1, 2)  # type: ignore[no-any-return]


class Backbone(nn.Module):
    """Convolution, norm, ConvNeXt blocks, norm: [B, in, T] -> [B, T, C]."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.embed = nn.Conv1d(config.hidden, config.width, KERNEL, padding=KERNEL // 2)
        self.norm, self.final_layer_norm = nn.LayerNorm(config.width, eps=EPS), nn.LayerNorm(config.width, eps=EPS)
        self.convnext = nn.ModuleList(ConvNext(config.width, config.ffn) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        """Encode columns to rows."""
        x = self.norm(self.embed(x).transpose(1, 2)).transpose(1, 2)
        for block in self.convnext:
            x = block(x)
        return self.final_layer_norm(x.transpose(1, 2))  # type: ignore[no-any-return]


class Codebook(nn.Module):
    """One factorised vector quantiser: search on unit vectors, answer with raw rows."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.in_project = nn.Conv1d(config.hidden, config.codebook_dim, 1)
        self.out_project = nn.Conv1d(config.codebook_dim, config.hidden, 1)
        self.codebook = nn.Embedding(config.codebook_size, config.codebook_dim)

    def nearest(self, z: Tensor) -> Tensor:
        """z [B, d, T] -> indices [B, T] of the rows with the largest cosine, the first on ties."""
        rows = F.normalize(self.codebook.weight, dim=-1)
        return (F.normalize(z.transpose(1, 2), dim=-1) @ rows.T).argmax(dim=-1)

    def rows(self, codes: Tensor) -> Tensor:
        """codes [B, N] -> projected rows [B, N, H]."""
        return self.out_project(self.codebook(codes).transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


class Quantizer(nn.Module):
    """The list of quantisers, of which there is one."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList([Codebook(config)])


class Codec(nn.Module):
    """Encoder, quantiser, and a decoder that is in the file and unused."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.encoder = nn.Sequential(Backbone(config), nn.Linear(config.width, config.hidden))
        self.decoder = nn.Sequential(Backbone(config), nn.Linear(config.width, config.hidden))
        self.quantizer = Quantizer(config)

    @property
    def book(self) -> Codebook:
        """The one quantiser."""
        book = self.quantizer.quantizers[0]
        assert isinstance(book, Codebook)
        return book

    def encode(self, x: Tensor) -> Tensor:
        """Normalised features [B, T, H] -> [B, T, H] before quantisation."""
        return self.encoder(x.transpose(1, 2))  # type: ignore[no-any-return]

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, T, H] -> indices [B, T] and quantised rows [B, T, H]."""
        codes = self.book.nearest(self.book.in_project(self.encode(x).transpose(1, 2)))
        return codes, self.book.rows(codes)

    def table(self) -> Tensor:
        """Every code's row [codebook, H]; all that a request needs of this module."""
        return self.book.rows(torch.arange(self.book.codebook.num_embeddings)[None])[0]
