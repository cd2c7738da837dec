"""How good the line sounded: the E-model (ITU-T G.107), reduced to what packets tell. Pure.

R = 93.2 - Id - Ie,eff, with the default values of G.107 for everything about telephones and rooms. Id counts delay (G.107, the
approximation of Cole and Rosenbluth 2001), Ie,eff = Ie + (95 - Ie) * Ppl / (Ppl + Bpl) with Ie = 0, Bpl = 25.1 for G.711 with concealment
(G.113, appendix I). Lateness beyond the jitter buffer counts as loss. An estimate: it knows nothing of the voice."""

from __future__ import annotations

R0 = 93.2
BPL = 25.1
CODEC_DELAY_MS = 20.0


def r_factor(loss: float, one_way_ms: float, jitter_ms: float = 0.0) -> float:
    """R, 0..100, from the share of packets lost (0..1), the network's delay one way and its jitter."""
    delay = one_way_ms + 2 * jitter_ms + CODEC_DELAY_MS  # a jitter buffer of twice the jitter
    delay_impairment = 0.024 * delay + 0.11 * max(0.0, delay - 177.3)
    percent = 100 * min(1.0, max(0.0, loss))
    return max(0.0, min(100.0, R0 - delay_impairment - 95 * percent / (percent + BPL)))


def mos(r: float) -> float:
    """Mean opinion score, 1..4.5, of an R (G.107, annex B)."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)
