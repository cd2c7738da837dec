"""The composition root: settings in, a Starlette application out. The only module that knows every package."""

from __future__ import annotations

import importlib.util
import itertools
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from rich.console import Console
from rich.progress import Progress
from starlette.applications import Starlette

from realtime import metrics
from realtime.audio.codecs import CODECS, SAMPLE_RATES, is_supported, make_encoder
from realtime.clock import Clock, MonotonicClock
from realtime.config import CacheSettings, EngineSettings, LimitSettings, Settings, TextSettings
from realtime.engines.registry import ENGINES
from realtime.errors import BadOption, RealtimeError, how_to_install
from realtime.pipeline.cache import SegmentCache
from realtime.pipeline.dispatcher import Dispatcher
from realtime.pipeline.outputs import Ending, Output
from realtime.pipeline.planning import Planner
from realtime.pipeline.prewarm import Prompt, prewarm, read_prompts
from realtime.pipeline.recall import Recall
from realtime.pipeline.requests import Request
from realtime.pipeline.shared_cache import SharedCache, SharedCacheSettings
from realtime.pipeline.utterance import Utterance, UtteranceLimits, UtteranceOptions
from realtime.pipeline.voices import VoiceBook
from realtime.scheduling.admission import AdmissionSettings, KeyLimits
from realtime.scheduling.breaker import BreakerSettings, BreakerState
from realtime.scheduling.budget import PROFILES
from realtime.scheduling.desk import SchedulerSettings
from realtime.scheduling.scheduler import Scheduler
from realtime.server.auth import Gatekeeper, KeyStore, check_exposure
from realtime.server.fitness import Shortfall, shortfalls
from realtime.server.gateway import Backstage, Gateway
from realtime.server.routes import routes
from realtime.text.segmenter import DEFAULT_SCHEDULE, SegmenterOptions, Stage
from realtime.text.speakable import warm_up
from realtime.types import AudioFormat, EngineName
from realtime.workers.interface import LevelRate, PoolEvent, Reload, WorkerLost, WorkerReady, WorkerSpec, WorkerState, WorkerStatus
from realtime.workers.mischief import Mischief
from realtime.workers.pool import Pool

log = logging.getLogger("realtime.app")

DEFAULT_PROFILE = "browser"
# Prompts wait so long for the first engine; loading the largest model from a slow disk takes a few minutes.
PREWARM_WAIT_S = 600.0
# How often it is asked whether the engines still fit what listeners are promised: what is learned of them changes slowly.
FITNESS_S = 30.0


@dataclass(slots=True, eq=False)
class Service:
    """Everything a process serves with; `app.state.service`."""

    settings: Settings
    gateway: Gateway
    dispatcher: Dispatcher
    pool: Pool
    scheduler: Scheduler


def build_app(settings: Settings, clock: Clock | None = None) -> Starlette:
    """A service, not yet started: its workers start with the application's lifespan. Raises `BadOption` for what can't be served."""
    clock = clock or MonotonicClock()
    keys = KeyStore(settings.server.data_dir)
    check_exposure(settings.server.host, keys, {"insecure": settings.server.insecure, "allow_faults": settings.server.allow_faults})
    chain = settings.chain or installed_chain(settings)
    voices = VoiceBook(chain, settings.default_voice, settings.stand_ins)
    scheduler = Scheduler(scheduler_settings(settings))
    planner = Planner(voices)
    cache = SegmentCache(settings.cache.max_mb << 20)
    shared = shared_cache(settings.cache, cache, clock)
    dispatcher = Dispatcher(scheduler, voices, clock, planner, Recall(cache, voices, shared))
    pool = Pool(worker_specs(settings, chain), clock, _count_events(dispatcher), allow_faults=settings.server.allow_faults)
    dispatcher.attach(pool)
    mischief = Mischief(pool, clock)
    segmenter, limits = segmenter_options(settings.text), utterance_limits(settings.limits)

    async def reload() -> list[tuple[dict[str, Any], RealtimeError | None]]:
        return [(reload_row(answer), answer.error) for answer in await pool.reload(chain)]

    backstage = Backstage(
        options=lambda request, audio_format: _options(request, audio_format, limits, segmenter),
        profiles={name: profile.budget for name, profile in PROFILES.items()},
        priorities={name: profile.priority for name, profile in PROFILES.items()},
        default_profile=DEFAULT_PROFILE,
        formats=_formats(),
        content_type=lambda audio_format: make_encoder(audio_format).content_type,
        workers=lambda: [worker_row(worker) for worker in pool.workers()],
        breakers=lambda: breaker_states(scheduler, chain, clock.now()),
        fitness=lambda: fitness(scheduler, chain, clock.now()),
        inject=mischief.take,
        reload=reload,
    )
    gateway = Gateway(settings, dispatcher, voices, clock, backstage)
    keeper = Gatekeeper(keys, not len(keys), settings.server.allowed_origins)
    _show_breakers(scheduler, chain, clock)
    service = Service(settings, gateway, dispatcher, pool, scheduler)
    prompts = read_prompts(settings.cache.prewarm) if settings.cache.prewarm else []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with pool, shared or nullcontext(), anyio.create_task_group() as tasks:
            planner.attach(pool, tasks)
            tasks.start_soon(dispatcher.run)
            tasks.start_soon(mischief.run)
            tasks.start_soon(_warm_up, gateway)
            tasks.start_soon(_tell_fitness, gateway)
            if prompts:
                tasks.start_soon(_prewarm, gateway, pool, cache, prompts)
            yield
            tasks.cancel_scope.cancel()

    app = Starlette(routes=routes(gateway, keeper, web_player_dir() if settings.server.web_player else None), lifespan=lifespan)
    app.state.service = service
    return app


def installed_chain(settings: Settings) -> tuple[str, ...]:
    """Engines that can start here, best first. Raises `BadOption` that says what to install when there is none."""
    found = []
    for engine in ("indextts2", "sambert"):
        if engine in settings.engines or any((settings.server.data_dir / "models" / engine).glob("*/manifest.json")):
            found.append(engine)
    if importlib.util.find_spec("espeakng_loader") is not None:
        found.append("espeak")
    if not found:
        raise BadOption(f"no engine is at hand; {how_to_install('espeak')}, or get a better one by `realtime models pull`")
    return tuple(found)


def worker_specs(settings: Settings, chain: tuple[str, ...]) -> tuple[WorkerSpec, ...]:
    """What the pool shall run."""
    specs = []
    for engine in chain:
        table = settings.engines.get(engine, EngineSettings())
        if (table.factory or engine) not in ENGINES and ":" not in (table.factory or engine):
            raise BadOption(f"unknown engine {table.factory or engine!r}; there are: {', '.join(ENGINES)}")
        options = dict(table.options)
        if engine in ("indextts2", "sambert"):
            options.setdefault("models_dir", str(settings.server.data_dir / "models" / engine))
        specs.append(
            WorkerSpec(
                engine,
                options,
                count=table.workers,
                cores=table.cores,
                rss_limit_mb=table.rss_limit_mb,
                step_timeout_s=table.step_timeout_s,
                factory=table.factory,
            )
        )
    return tuple(specs)


def segmenter_options(text: TextSettings) -> SegmenterOptions:
    """The segmenter's options from the settings."""
    stages = tuple(Stage(s.clause_weight, s.max_weight, s.max_wait_s) for s in text.schedule) or DEFAULT_SCHEDULE
    return SegmenterOptions(stages, settle_s=text.settle_s, settle_dot_s=text.settle_dot_s)


def utterance_limits(limits: LimitSettings) -> UtteranceLimits:
    """The utterance's bounds from the settings."""
    return UtteranceLimits(limits.text_chars, limits.pending_chars, limits.text_idle_s)


def worker_row(worker: WorkerStatus) -> dict[str, Any]:
    """One worker as `/v1/workers` shows it."""
    return {
        "id": worker.id,
        "engine": worker.engine,
        "state": worker.state.value,
        "doing": worker.doing,
        "pid": worker.pid,
        "jobs": len(worker.jobs),
        "job_ids": list(worker.jobs),
        "rates": {level: rate_row(rate) for level, rate in worker.rates.items()},
        "rss_mb": round(worker.rss_mb, 1),
        "load_s": round(worker.load_s, 2),
        "restarts": worker.restarts,
        "last_error": worker.last_error,
    }


def rate_row(rate: LevelRate) -> dict[str, float]:
    """One level's rate as `/v1/workers` shows it; `lag_s` is absent where the warm-up heard no second chunk to measure it by."""
    row = {"rtf": rate.rtf, "first_chunk_s": rate.first_chunk_s}
    return row if rate.lag_s is None else row | {"lag_s": rate.lag_s}


def reload_row(answer: Reload) -> dict[str, Any]:
    """One worker as `/v1/voices/reload` shows it; one that was not ready has no voices to tell of yet."""
    row: dict[str, Any] = {"id": answer.worker_id, "engine": answer.engine, "state": answer.state.value}
    if answer.state is WorkerState.READY and answer.error is None:
        row["voices"] = list(answer.voices)
    return row


def breaker_states(scheduler: Scheduler, chain: tuple[str, ...], now: float) -> dict[str, str]:
    """Engine -> closed, open or half_open."""
    known = scheduler.snapshot(now).breakers
    return {engine: known[engine].value if engine in known else "closed" for engine in chain}


def fitness(scheduler: Scheduler, chain: tuple[str, ...], now: float) -> tuple[dict[str, float], list[Shortfall]]:
    """How long the engines' first chunks take (p99, seconds), of those that have workers; and for which profiles that is too long."""
    known = scheduler.snapshot(now).first_chunk_p99_s
    return known, shortfalls(chain, known, {name: profile.budget for name, profile in PROFILES.items()})


def scheduler_settings(settings: Settings) -> SchedulerSettings:
    """The scheduler's part of the settings."""
    admission, breaker = settings.admission, settings.breaker
    keys = KeyLimits(admission.per_second, admission.burst, admission.streams_per_key)
    return SchedulerSettings(
        first_word_from_fallback=admission.first_word_from_fallback,
        begins_on_last_resort=admission.begins_on_last_resort,
        breaker=BreakerSettings(**breaker.model_dump()),
        admission=AdmissionSettings(settings.limits.utterances, admission.waiting_jobs, default_limits=keys),
    )


def shared_cache(settings: CacheSettings, memory: SegmentCache, clock: Clock) -> SharedCache | None:
    """The cache's second tier, if the settings name one. Raises `BadOption` for a URL or an installation that can't serve."""
    if settings.redis_url is None or not memory.is_on:
        return None
    from realtime.pipeline.redis_store import RedisStore

    bounds = SharedCacheSettings(
        settings.redis_wait_ms / 1000, ttl_s=round(settings.redis_ttl_h * 3600), entry_bytes=settings.redis_entry_kb << 10
    )
    return SharedCache(RedisStore(settings.redis_url), clock, memory.put, bounds)


def web_player_dir() -> Path | None:
    """Where the page is: installed as a package of its own, or beside the sources."""
    spec = importlib.util.find_spec("realtime_web_player")
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    places.append(Path(__file__).resolve().parent.parent / "web_player")
    return next((place for place in places if (place / "index.html").exists()), None)


def _show_breakers(scheduler: Scheduler, chain: tuple[str, ...], clock: Clock) -> None:
    """Have the gauges ask for the states whenever metrics are read."""

    def is_in(engine: str, states: set[str]) -> float:
        return float(breaker_states(scheduler, chain, clock.now())[engine] in states)

    for engine in chain:
        for state in BreakerState:
            metrics.breaker_state.labels(engine, state.value).set_function(partial(is_in, engine, {state.value}))
        off = {state.value for state in BreakerState if state is not BreakerState.CLOSED}
        metrics.breaker_open.labels(engine).set_function(partial(is_in, engine, off))


async def _warm_up(gateway: Gateway) -> None:
    """A second of computing that no listener should wait behind: the service is ready after it."""
    await anyio.to_thread.run_sync(warm_up)
    gateway.is_warm = True


async def _tell_fitness(gateway: Gateway) -> None:
    """Once the engines have been measured, and whenever what they do in service changes it: a line for each profile they don't fit."""
    clock, told = gateway.clock, set[tuple[str, str]]()
    while True:
        if gateway.is_ready:
            for shortfall in gateway.back.fitness()[1]:
                if (shortfall.engine, shortfall.profile) not in told:
                    told.add((shortfall.engine, shortfall.profile))
                    log.warning("%s", shortfall)
        await clock.sleep_until(clock.now() + (FITNESS_S if gateway.is_ready else 1.0))


async def _prewarm(gateway: Gateway, pool: Pool, cache: SegmentCache, prompts: list[Prompt]) -> None:
    """Speak the prompt file into the cache, with a bar on a terminal and a line per trouble in the log once that is gone.

    These utterances are nobody's: they are in no log and no metric of what listeners got.
    """
    troubles: list[str] = []
    numbers = itertools.count(1)
    for engine in sorted({worker.engine for worker in pool.workers()}):
        try:
            await pool.wait_ready([engine], PREWARM_WAIT_S)
        except RealtimeError as error:
            log.warning("no prompts are spoken ahead by %s: %s", engine, error.message)
    with Progress(console=Console(stderr=True), disable=not Console(stderr=True).is_terminal, transient=True) as bar:
        task = bar.add_task("speaking prompts ahead", total=len(prompts))

        def on_progress(number: int, prompt: Prompt, trouble: str) -> None:
            bar.advance(task)
            if trouble:
                troubles.append(f"prompt {number} is not ready: {trouble}")

        def home(prompt: Prompt) -> EngineName:
            return gateway.voices.cast(prompt.voice, prompt.language)[0].engine

        async def speak(request: Request, text: str) -> Ending | None:
            options = gateway.back.options(request, AudioFormat())
            utterance = Utterance(f"prompt-{next(numbers)}", options, gateway.dispatcher, gateway.clock)
            utterance.open()
            utterance.feed(text)
            utterance.end()
            return await utterance.run(_nowhere)

        ready = await prewarm(prompts, PROFILES["batch"].budget, speak, home, on_progress)
    for trouble in troubles:
        log.warning("%s", trouble)
    log.info("prompts ready: %d of %d", ready, len(prompts))
    if cache.evicted:
        log.warning("the cache is too small for the prompts, which push each other out: raise cache.max_mb")


async def _nowhere(output: Output) -> None:
    """Nobody listens."""


def _options(request: Request, audio_format: AudioFormat, limits: UtteranceLimits, segmenter: SegmenterOptions) -> UtteranceOptions:
    return UtteranceOptions(request, audio_format, limits, segmenter)


def _formats() -> Mapping[str, tuple[int, ...]]:
    return {codec.value: tuple(rate for rate in SAMPLE_RATES if is_supported(AudioFormat(codec, rate))) for codec in CODECS}


def _count_events(dispatcher: Dispatcher) -> Any:
    ready: dict[str, set[str]] = {}

    def on_event(event: PoolEvent) -> None:
        if isinstance(event, WorkerReady | WorkerLost):
            workers = ready.setdefault(event.engine, set())
            (workers.add if isinstance(event, WorkerReady) else workers.discard)(event.worker_id)
            metrics.workers_ready.labels(event.engine).set(len(workers))
        dispatcher.on_pool_event(event)

    return on_event
