"""The generator in the two forms that are exported: folded weights, one merged up-sampling per stage, explicit state.

Merging (specification 11.5): nearest up-sampling by `u`, LeakyReLU and a 7-tap convolution see at most u + 6 high-rate columns, so they
equal a transposed convolution of LeakyReLU at the low rate; both paths are linear in that, so one kernel does both. It is run as a
polyphase convolution (each output phase its own channels, at the low rate) and a reshuffle: every multiplication is of a value that
exists, and the state of a chunk is a few low-rate columns instead of an overlap tail.

Everything is an image of height 1: ONNX Runtime has blocked convolution kernels for two dimensions only, a fifth faster here.

State of the causal form: for each convolution the last (k - 1) * dilation columns of its input. The columns of all convolutions of a stage
are kept side by side in one tensor, so a stage has one input and one output of state.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from realtime.engines.sambert.checkpoint.hifigan import LAST_SLOPE, REPEAT_KERNEL, Conv, Generator
from realtime.engines.sambert.checkpoint.layers import parts


@dataclass(frozen=True, eq=False)
class MergedUpsampling:
    """Kernel [C_in, C_out, taps * scale] and bias of one stage; output column n is row n + `shift` of the transposed convolution."""

    kernel: Tensor
    bias: Tensor
    scale: int
    shift: int

    @property
    def taps(self) -> int:
        """Low-rate columns that one output column sees."""
        return self.kernel.shape[2] // self.scale

    def polyphase(self) -> tuple[Tensor, Tensor]:
        """(weight [scale * C_out, C_in, taps], bias [scale * C_out]) of the convolution that computes all phases at the low rate."""
        width_in, width_out, _ = self.kernel.shape
        phases = self.kernel.reshape(width_in, width_out, self.taps, self.scale).flip(2)
        return phases.permute(3, 1, 0, 2).reshape(self.scale * width_out, width_in, self.taps), self.bias.repeat(self.scale)


def merge_upsampling(generator: Generator, stage: int) -> MergedUpsampling:
    """Both up-sampling paths of a stage as one kernel."""
    dims = generator.dims
    scale = dims.upsample_scales[stage]
    deconv = generator.transposed(stage)
    up = deconv.deconv.folded()
    # In the transposed convolution's own output, column t*scale + tap; the published cut makes that column t*scale + tap - cut.
    reach = REPEAT_KERNEL - 1 if dims.causal else (REPEAT_KERNEL - 1) // 2
    # Tap offsets relative to t*scale run from `low`; the repeat path starts `reach - 6` before it (0 when causal).
    rep_start, up_start = reach - (REPEAT_KERNEL - 1), -deconv.cut
    low = min(rep_start, up_start) if dims.repeat_upsample else up_start
    length = max(up_start + up.shape[2], rep_start + scale + REPEAT_KERNEL - 1 if dims.repeat_upsample else 0) - low
    length = -(-length // scale) * scale
    kernel = up.new_zeros(*up.shape[:2], length)
    kernel[:, :, up_start - low : up_start - low + up.shape[2]] += up
    bias = up.new_zeros(up.shape[1]) if deconv.deconv.bias is None else deconv.deconv.bias.clone()
    if dims.repeat_upsample:
        conv = generator.repeated(stage)
        rep = conv.conv1d.folded()
        # High-rate column m = t*scale + i (0 <= i < scale) reaches output n through tap j where n + j - 6 + (6 - reach) = m.
        for i in range(scale):
            for j in range(REPEAT_KERNEL):
                kernel[:, :, i - j + reach - low] += rep[:, :, j].T
        if conv.conv1d.bias is not None:
            bias = bias + conv.conv1d.bias
    return MergedUpsampling(kernel, bias, scale, -low)


class FoldedConv(nn.Module):
    """A plain convolution without padding."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dilation: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.clone(), requires_grad=False)
        self.dilation, self.stride = dilation, stride

    @classmethod
    def of(cls, conv: Conv) -> FoldedConv:
        """The folded weights of a published convolution."""
        return cls(conv.conv1d.folded(), conv.conv1d.bias, conv.dilation, conv.stride)

    @property
    def reach(self) -> int:
        """Columns of input before (or around) the current one."""
        return (self.weight.shape[2] - 1) * self.dilation

    def forward(self, x: Tensor) -> Tensor:
        """x [1,C_in,1,T + reach] -> [1,C_out,1,T]."""
        return F.conv2d(x, self.weight[:, :, None], self.bias, stride=(1, self.stride), dilation=(1, self.dilation))


class StageParts(nn.Module):
    """The folded convolutions of one stage."""

    def __init__(self, generator: Generator, stage: int) -> None:
        super().__init__()
        merged = merge_upsampling(generator, stage)
        self.scale, self.shift = merged.scale, merged.shift
        self.up = FoldedConv(*merged.polyphase())
        self.blocks = nn.ModuleList()
        for block in generator.blocks(stage):
            pairs = zip(parts(block.convs1, Conv), parts(block.convs2, Conv), strict=True)
            self.blocks.append(nn.ModuleList(FoldedConv.of(conv) for pair in pairs for conv in pair))
        self.source = FoldedConv.of(parts(generator.source_downs, Conv)[stage]) if generator.dims.is_nsf else None

    @property
    def convolutions(self) -> list[list[FoldedConv]]:
        """The convolutions of each residual block: dilated, plain, dilated, plain ..."""
        return [parts(block, FoldedConv) for block in parts(self.blocks, nn.ModuleList)]

    @property
    def state_columns(self) -> list[int]:
        """Columns of state of each residual convolution, in the order they run."""
        return [conv.reach for block in self.convolutions for conv in block]

    def shuffle(self, phases: Tensor) -> Tensor:
        """[1, scale * C, 1, T] -> [1, C, 1, T * scale]."""
        width = phases.shape[1] // self.scale
        return phases.reshape(1, self.scale, width, -1).permute(0, 2, 3, 1).reshape(1, width, 1, -1)


class CausalVocoder(nn.Module):
    """Chunked form of a causal generator: (x, excitation?, states) -> (samples, new states). Exact for any cutting."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        assert generator.dims.causal
        self.dims, self.slope = generator.dims, generator.dims.slope
        self.pre, self.post = FoldedConv.of(generator.conv_pre), FoldedConv.of(generator.conv_post)
        self.stages = nn.ModuleList(StageParts(generator, i) for i in range(len(self.dims.upsample_scales)))

    def initial_state(self) -> dict[str, Tensor]:
        """Zeros, by the names of the graph's inputs: what lies before the first frame."""
        shapes = {"pre": (1, self.pre.weight.shape[1], 1, self.pre.reach), "post": (1, self.post.weight.shape[1], 1, self.post.reach)}
        for i, stage in enumerate(parts(self.stages, StageParts)):
            width_in, width = self.dims.stage_channels(i)
            shapes[f"up{i}"] = (1, width_in, 1, stage.up.reach)
            shapes[f"blocks{i}"] = (1, width, 1, sum(stage.state_columns))
            if stage.source is not None and stage.source.stride > 1:
                shapes[f"source{i}"] = (1, 1, 1, 2 * stage.source.stride - 1)
        return {name: torch.zeros(shape) for name, shape in shapes.items()}

    def forward(self, x: Tensor, excitation: Tensor | None, states: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """x [1,in_channels,n], excitation [1,1,n*hop] for NSF -> (samples [1,1,n*hop], the states for the next chunk)."""
        new: dict[str, Tensor] = {}

        def extended(name: str, part: Tensor) -> Tensor:
            joined = torch.cat([states[name], part], dim=-1)
            new[name] = joined[..., -states[name].shape[-1] :]
            return joined

        x = self.pre(extended("pre", x[:, :, None]))
        if excitation is not None:
            excitation = excitation[:, :, None]
        for i, stage in enumerate(parts(self.stages, StageParts)):
            x = stage.shuffle(stage.up(extended(f"up{i}", F.leaky_relu(x + torch.sin(x), self.slope))))
            if stage.source is not None:
                assert excitation is not None
                x = x + stage.source(extended(f"source{i}", excitation) if stage.source.stride > 1 else excitation)
            x, new[f"blocks{i}"] = self._blocks(stage, x, states[f"blocks{i}"])
        return torch.tanh(self.post(extended("post", F.leaky_relu(x, LAST_SLOPE))))[:, :, 0], new

    def _blocks(self, stage: StageParts, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        columns = stage.state_columns
        past = iter(zip(torch.split(state, columns, dim=-1), columns, strict=True))
        kept: list[Tensor] = []

        def run(conv: nn.Module, part: Tensor) -> Tensor:
            before, count = next(past)
            joined = torch.cat([before, part], dim=-1)
            kept.append(joined[..., -count:])
            out: Tensor = conv(joined)
            return out

        shared = F.leaky_relu(x, self.slope)
        total: Tensor | None = None
        for convs in stage.convolutions:
            y, active = x, shared
            for d in range(0, len(convs), 2):
                inner = run(convs[d], active if d == 0 else F.leaky_relu(y, self.slope))
                y = y + run(convs[d + 1], F.leaky_relu(inner, self.slope))
            total = y if total is None else total + y
        assert total is not None
        return total * (1.0 / len(stage.blocks)), torch.cat(kept, dim=-1)


class WindowVocoder(nn.Module):
    """A generator with symmetric padding over a window of frames: exact 18 or so frames away from a cut, and at the text's true ends.

    (x [1,in_channels,n], excitation [1,1,n*hop] for NSF) -> samples [1,1,n*hop].
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        assert not generator.dims.causal
        self.dims, self.slope = generator.dims, generator.dims.slope
        self.pre, self.post = FoldedConv.of(generator.conv_pre), FoldedConv.of(generator.conv_post)
        self.stages = nn.ModuleList(StageParts(generator, i) for i in range(len(self.dims.upsample_scales)))

    def forward(self, x: Tensor, excitation: Tensor | None = None) -> Tensor:
        """See the class."""
        x = self._same(self.pre, x[:, :, None])
        if excitation is not None:
            excitation = excitation[:, :, None]
        for i, stage in enumerate(parts(self.stages, StageParts)):
            x = self._upsample(stage, x, self.dims.later_scale(i), excitation)
            x = self._blocks(stage, x)
        return torch.tanh(self._same(self.post, F.leaky_relu(x, LAST_SLOPE)))[:, :, 0]

    def _upsample(self, stage: StageParts, x: Tensor, later: int, excitation: Tensor | None) -> Tensor:
        length = x.shape[-1] * stage.scale
        active = F.leaky_relu(x + torch.sin(x), self.slope)
        # All columns of the transposed convolution: its first one needs taps - 1 columns of zeros before, its last one after.
        whole = stage.shuffle(stage.up(F.pad(active, (stage.up.reach, stage.up.reach))))
        out = whole[..., stage.shift : stage.shift + length]
        if stage.source is not None:
            assert excitation is not None
            padded = F.pad(excitation, (later // 2, later // 2)) if stage.source.stride > 1 else excitation
            out = out + stage.source(padded)[..., :length]
        return out

    def _blocks(self, stage: StageParts, x: Tensor) -> Tensor:
        shared = F.leaky_relu(x, self.slope)
        total: Tensor | None = None
        for convs in stage.convolutions:
            y, active = x, shared
            for d in range(0, len(convs), 2):
                inner = self._same(convs[d], active if d == 0 else F.leaky_relu(y, self.slope))
                y = y + self._same(convs[d + 1], F.leaky_relu(inner, self.slope))
            total = y if total is None else total + y
        assert total is not None
        return total * (1.0 / len(stage.blocks))

    @staticmethod
    def _same(conv: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(conv, FoldedConv)
        out: Tensor = conv(F.pad(x, (conv.reach // 2, conv.reach // 2)))
        return out
