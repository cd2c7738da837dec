"""Every instrument of the phone side, its unit and buckets, on a registry of its own; served over HTTP on a port of its own."""

from __future__ import annotations

import threading
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from realtime_ivr.call import Call
from realtime_ivr.record import CallRecord

from realtime.errors import BadOption

TTFA_BUCKETS = (0.03, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0)
DURATION_BUCKETS = (5, 15, 30, 60, 120, 300, 600, 1800)
LATE_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)


class Metrics:
    """Made once. `calls_up` and the like follow the calls; a call's figures are added when it is over."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.calls_up = Gauge("ivr_calls_up", "Calls in progress", ["transport"], registry=registry)
        self.calls = Counter(
            "ivr_calls", "Calls that are over, by who ended them", ["transport", "direction", "ended_by"], registry=registry
        )
        self.duration = Histogram("ivr_call_seconds", "How long calls lasted", buckets=DURATION_BUCKETS, registry=registry)
        self.ttfa = Histogram(
            "ivr_prompt_first_audio_seconds",
            "Wish to say it until its first sample left",
            ["source"],
            buckets=TTFA_BUCKETS,
            registry=registry,
        )
        self.prompts = Counter("ivr_prompts", "Things said, by who said them in the end", ["source"], registry=registry)
        self.takeovers = Counter("ivr_takeovers", "Prompts that a local voice had to finish", registry=registry)
        self.resumes = Counter("ivr_resumes", "Prompts that went on after the service was lost", registry=registry)
        self.switches = Counter("ivr_engine_switches", "Engine switches within prompts", registry=registry)
        self.underruns = Counter("ivr_underruns", "Silences within prompts for want of sound", registry=registry)
        self.barge_ins = Counter("ivr_barge_ins", "Prompts interrupted by the caller", ["by"], registry=registry)
        self.packets_lost = Counter("ivr_packets_lost", "RTP packets of callers that never came", registry=registry)
        self.packets_refused = Counter("ivr_packets_refused", "Packets of strangers, and what was no packet", registry=registry)
        self.failed_flows = Counter("ivr_failed_flows", "Calls whose flow ended in an error", registry=registry)
        self.late = Histogram("ivr_tick_late_seconds", "Lateness of the 20 ms clock", buckets=LATE_BUCKETS, registry=registry)

    def over(self, call: Call, record: CallRecord) -> None:
        """Add a finished call's figures."""
        ended_by = str(call.hung_up.side) if call.hung_up else "unknown"
        self.calls.labels(call.info.transport, str(call.info.direction), ended_by).inc()
        self.duration.observe(record.ended_s or record.now_s)
        self.packets_lost.inc(call.quality.packets_lost)
        self.packets_refused.inc(call.quality.packets_refused)
        for prompt in record.prompts:
            source = prompt.source or "none"
            self.prompts.labels(source).inc()
            if prompt.ttfa_ms is not None:
                self.ttfa.labels(source.split("+")[0]).observe(prompt.ttfa_ms / 1000)
            self.takeovers.inc(prompt.takeovers)
            self.resumes.inc(prompt.resumes)
            self.switches.inc(prompt.switches)
            self.underruns.inc(prompt.underruns)
            if prompt.interrupted_by:
                self.barge_ins.labels(prompt.interrupted_by).inc()


class MetricsServer:
    """`/metrics` on an address. Raises `BadOption` when it is taken."""

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        try:
            started: tuple[WSGIServer, threading.Thread] = start_http_server(port, host, metrics.registry)
        except OSError as error:
            raise BadOption(f"can't serve metrics at {host}:{port}: {error.strerror or error}") from None
        self._server, self._thread = started
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(2)
