"""Properties of the torch modules that serving relies on, at tiny sizes and random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from realtime.engines.indextts2.checkpoint.campplus import segment_means
from realtime.engines.indextts2.checkpoint.configs import MelConfig
from realtime.engines.indextts2.checkpoint.features import kaldi_fbank, log_mel, seamless_features
from realtime.engines.indextts2.checkpoint.generate import generate, left_padded, prefill
from realtime.engines.indextts2.checkpoint.gpt import Gpt
from realtime.engines.indextts2.checkpoint.random_weights import RandomParts
from realtime.engines.indextts2.checkpoint.s2mel import S2Mel
from realtime.engines.indextts2.checkpoint.wavenet import reflect
from realtime.engines.indextts2.emotion import balanced, choose_rows, scaled
from realtime.engines.indextts2.frames import frames_for_codes, nearest_rows
from realtime.engines.indextts2.sampler import Sampling


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def gpt(tiny_parts: RandomParts) -> Gpt:
    return tiny_parts.gpt()


@pytest.fixture(scope="module")
def s2mel(tiny_parts: RandomParts) -> S2Mel:
    return tiny_parts.s2mel()


class TestLanguageModel:
    TEXT = torch.tensor([[7, 9, 11, 13]])

    def conditions(self) -> Tensor:
        return normal(1, 1, 6, 32)

    def test_decoding_at_offset_one_gives_the_latents_of_the_second_pass(self, gpt: Gpt) -> None:
        conditions = self.conditions()
        codes, hidden = generate(gpt, gpt.prefix(conditions, self.TEXT), Sampling(), 12, offset=1, seed=4)
        latents = gpt.latents(conditions, self.TEXT, torch.tensor([codes]))
        torch.testing.assert_close(hidden[None], latents, atol=1e-5, rtol=1e-4)

    def test_offset_two_is_another_model(self, gpt: Gpt) -> None:
        conditions = self.conditions()
        codes, hidden = generate(gpt, gpt.prefix(conditions, self.TEXT), Sampling(), 12, offset=2, seed=4)
        latents = gpt.latents(conditions, self.TEXT, torch.tensor([codes]))
        torch.testing.assert_close(hidden[None, :1], latents[:, :1], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(hidden[None, 1:], latents[:, 1:], atol=1e-3)

    def test_a_row_padded_on_the_left_is_as_if_alone(self, gpt: Gpt) -> None:
        texts = [torch.tensor([7, 9, 11, 13, 15, 17]), torch.tensor([8, 10])]
        rows, attended = left_padded(gpt, self.conditions(), texts)
        together = prefill(gpt, rows, attended=attended)
        together.feed(torch.tensor([3, 5]))
        for i, text in enumerate(texts):
            alone = prefill(gpt, gpt.prefix(self.conditions(), text[None]))
            alone.feed(torch.tensor([[3, 5][i]]))
            torch.testing.assert_close(together.logits[i : i + 1], alone.logits, atol=1e-5, rtol=1e-4)

    def test_the_stop_code_can_be_held_back(self, gpt: Gpt) -> None:
        biased = torch.full_like(gpt.mel_head.bias, 0.0)
        biased[gpt.config.stop_code] = 50.0
        kept = gpt.mel_head.bias.clone()
        gpt.mel_head.bias.copy_(biased)
        try:
            prefix = gpt.prefix(self.conditions(), self.TEXT)
            assert generate(gpt, prefix, Sampling(greedy=True), 9)[0] == [gpt.config.stop_code]
            codes, _ = generate(gpt, prefix, Sampling(greedy=True), 9, min_codes=4)
            assert codes.index(gpt.config.stop_code) == 4
            assert len(codes) == 5
        finally:
            gpt.mel_head.bias.copy_(kept)


class TestFlow:
    def inputs(self, frames: int) -> tuple[Tensor, ...]:
        times = torch.tensor([0.3, 0.7])
        return normal(1, 2, 80, frames), normal(2, 2, 80, frames), times, normal(3, 2, 12), normal(4, 2, frames, 16)

    def test_time_tables_are_all_that_the_time_contributes(self, s2mel: S2Mel) -> None:
        dit = s2mel.cfm.estimator
        x, prompt, t, style, mu = self.inputs(30)
        later = dit.velocity(dit.merge(x, prompt, style, mu), x, dit.at_time(t))
        torch.testing.assert_close(dit(x, prompt, t, style, mu), later)

    def test_a_padded_row_is_its_own_but_for_the_frames_at_its_end(self, s2mel: S2Mel) -> None:
        dit = s2mel.cfm.estimator
        x, prompt, t, style, mu = self.inputs(40)
        together = dit(x, prompt, t, style, mu, torch.tensor([40, 28]))
        alone = dit(x[1:, :, :28], prompt[1:, :, :28], t[1:], style[1:], mu[1:, :28])
        reach = 2 * dit.config.wavenet_layers
        torch.testing.assert_close(together[1:, :, : 28 - reach], alone[:, :, : 28 - reach], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together[:1], dit(x[:1], prompt[:1], t[:1], style[:1], mu[:1]), atol=1e-4, rtol=1e-4)

    def test_the_prompt_is_left_out_of_the_result(self, s2mel: S2Mel) -> None:
        out = s2mel.cfm.solve(normal(1, 1, 30, 16), normal(2, 1, 80, 10), normal(3, 1, 12), normal(4, 1, 80, 30), 3, 0.7)
        assert not out[..., :10].any()
        assert out[..., 10:].isfinite().all()
        assert out[..., 10:].std() > 0.1

    def test_short_signals_are_reflected_as_far_as_they_go(self) -> None:
        assert reflect(torch.tensor([[[1.0, 2, 3]]]), (2, 2)).tolist() == [[[3, 2, 1, 2, 3, 2, 1]]]
        assert reflect(torch.tensor([[[1.0, 2]]]), (2, 2)).shape == (1, 1, 6)


class TestFrames:
    @given(st.integers(1, 1500))
    def test_frames_of_codes_are_the_floored_product(self, codes: int) -> None:
        assert frames_for_codes(codes) == int(1.72 * codes + 1e-9)

    @given(st.integers(1, 1500), st.integers(1, 2600))
    def test_rows_are_those_of_torchs_nearest_interpolation(self, rows: int, frames: int) -> None:
        source = torch.arange(rows, dtype=torch.float32)[None, None]
        theirs = torch.nn.functional.interpolate(source, size=frames, mode="nearest")[0, 0]
        np.testing.assert_array_equal(nearest_rows(rows, frames), theirs.long().numpy())


class TestFeatures:
    def test_a_tone_lies_in_its_band(self) -> None:
        wave = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
        band = kaldi_fbank(wave).mean(axis=0).argmax()
        edges = 700 * (np.exp(np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700), 82) / 1127) - 1)
        assert edges[band] < 1000 < edges[band + 2]

    def test_an_odd_number_of_frames_is_padded_and_masked(self) -> None:
        wave = np.random.default_rng(0).standard_normal(400 + 4 * 160).astype(np.float32)
        rows, mask = seamless_features(wave)
        assert rows.shape == (3, 160)
        assert mask.tolist() == [1, 1, 0]
        assert not rows[2, 80:].any()

    def test_a_mel_has_a_frame_per_hop(self) -> None:
        for samples in (22050, 22050 * 3 + 17, 5000):
            assert log_mel(np.zeros(samples, dtype=np.float32), MelConfig()).shape == (80, samples // 256)

    def test_the_last_segment_is_averaged_over_its_own_length(self) -> None:
        x = torch.arange(250.0)[None, None]
        means = segment_means(x)[0, 0]
        assert means[[0, 99, 100, 200, 249]].tolist() == [49.5, 49.5, 149.5, 224.5, 224.5]


class TestEmotion:
    def test_the_nearest_row_of_each_group_is_taken(self) -> None:
        speakers = np.array([[1, 0], [0, 1], [1, 1], [5, 0.1], [0, 2]], dtype=np.float32)
        assert choose_rows(np.array([1, 0.1], dtype=np.float32), speakers, (2, 3)).tolist() == [0, 1]

    def test_strength_is_cut_to_four_decimals(self) -> None:
        assert scaled((0.33333, 0.9), 0.5) == (0.1666, 0.45)
        assert scaled((0.5,), 7) == (0.5,)

    def test_user_weights_leave_room_for_the_speaker(self) -> None:
        assert sum(balanced((1, 1, 1, 1, 1, 1, 1, 1))) == pytest.approx(0.8)
        assert balanced((0.1, 0, 0, 0, 0, 0, 0, 0))[0] == pytest.approx(0.09375)
