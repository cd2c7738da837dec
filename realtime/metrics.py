"""Every instrument of the service: its name, unit and buckets. A new metric is one line here.

Instruments live in one registry per process; `render` is the Prometheus text that `/metrics` serves.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody reads
REGISTRY = CollectorRegistry()

SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
QUICK_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25)

connections = Gauge("realtime_connections", "Open WebSocket connections", registry=REGISTRY)
utterances = Gauge("realtime_utterances", "Utterances in progress", registry=REGISTRY)
utterances_ended = Counter("realtime_utterances_ended", "Utterances by how they ended", ["end"], registry=REGISTRY)
errors = Counter("realtime_errors", "Errors sent to clients by code", ["code"], registry=REGISTRY)
bad_input = Counter("realtime_bad_input", "Refused messages by code", ["code"], registry=REGISTRY)
ttfa_seconds = Histogram("realtime_ttfa_seconds", "First text in to first audio out", buckets=SECONDS, registry=REGISTRY)
audio_seconds = Counter("realtime_audio_seconds", "Audio sent by engine", ["engine"], registry=REGISTRY)
characters = Counter("realtime_characters", "Characters spoken by engine", ["engine"], registry=REGISTRY)
underruns = Counter("realtime_underruns", "Times a listener ran dry inside an utterance", registry=REGISTRY)
underrun_seconds = Counter("realtime_underrun_seconds", "Silence from underruns", registry=REGISTRY)
lying_marks = Counter("realtime_lying_marks", "Played marks that claimed more than was sent", registry=REGISTRY)
switches = Counter("realtime_switches", "Handovers in mid-utterance", ["from_engine", "to_engine", "reason"], registry=REGISTRY)
shed = Counter("realtime_shed", "Utterances refused", ["reason"], registry=REGISTRY)
slow_clients = Counter("realtime_slow_clients", "Connections closed because their reader did not read", registry=REGISTRY)
jobs = Counter("realtime_jobs", "Jobs by engine and how they ended", ["engine", "end"], registry=REGISTRY)
workers_ready = Gauge("realtime_workers_ready", "Workers ready", ["engine"], registry=REGISTRY)
workers_lost = Counter("realtime_workers_lost", "Workers lost", ["engine", "reason"], registry=REGISTRY)
orphan_chunks = Counter("realtime_orphan_chunks", "Chunks made for a job that had been cancelled", ["engine"], registry=REGISTRY)
breaker_open = Gauge("realtime_breaker_open", "1 while an engine is off the live path", ["engine"], registry=REGISTRY)
breaker_state = Gauge("realtime_breaker_state", "1 for the state that an engine's breaker is in", ["engine", "state"], registry=REGISTRY)
cache_hits = Counter("realtime_cache_hits", "Segments served from the cache", registry=REGISTRY)
cache_misses = Counter("realtime_cache_misses", "Segments that had to be spoken", registry=REGISTRY)
cache_joined = Counter("realtime_cache_joined", "Segments fed from one that was being spoken for somebody else", registry=REGISTRY)
cache_bytes = Gauge("realtime_cache_bytes", "Bytes held by the cache", registry=REGISTRY)
shared_cache_up = Gauge("realtime_shared_cache_up", "1 while the shared cache answers, where there is one", ["place"], registry=REGISTRY)
shared_cache_look_ups = Counter("realtime_shared_cache_look_ups", "Texts asked of the shared cache", ["answer"], registry=REGISTRY)
shared_cache_seconds = Histogram("realtime_shared_cache_seconds", "Time of a look-up", buckets=QUICK_SECONDS, registry=REGISTRY)
shared_cache_writes = Counter("realtime_shared_cache_writes", "Segments for the shared cache by end", ["end"], registry=REGISTRY)
unspeakable = Counter("realtime_unspeakable_segments", "Segments in which nothing could be spoken", registry=REGISTRY)
normalize_failures = Counter("realtime_normalize_failures", "Segments spoken without their numbers written out", registry=REGISTRY)


def render() -> bytes:
    """All instruments in Prometheus' text format."""
    return generate_latest(REGISTRY)
