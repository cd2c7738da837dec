"""Settings from a TOML file and the environment; the only reader of either.

Every field has a default that works on one machine. `REALTIME_SECTION__FIELD` in the environment wins over the file; an unknown
key in the file is an error that names it. `ops/service.toml` shows every value with its reason.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from realtime.errors import BadOption


class Section(BaseModel):
    """A table of the settings file: unknown keys are errors, values never change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Section):
    """Where and for whom the service listens."""

    host: str = "127.0.0.1"
    port: int = Field(7860, ge=0, le=65535, description="0 takes any free port")
    insecure: bool = Field(False, description="serve beyond loopback without API keys")
    allow_faults: bool = Field(False, description="take fault plans over the admin call; refused off loopback")
    allowed_origins: tuple[str, ...] = Field((), description="browser origins besides the service's own")
    drain_s: float = Field(30.0, ge=0, description="how long running utterances may finish after SIGTERM")
    data_dir: Path = Field(Path.home() / ".local" / "share" / "realtime", description="keys, models and voice packs")
    web_player: bool = Field(True, description="serve the page at /")

    @field_validator("data_dir")
    @classmethod
    def _expand(cls, path: Path) -> Path:
        return path.expanduser()


class LimitSettings(Section):
    """Bounds; each says what happens when it is reached."""

    message_bytes: int = Field(1 << 20, ge=1024, description="one message; larger closes the connection with 1009")
    text_chars: int = Field(100_000, ge=1, description="one utterance; more is `bad_text`")
    pending_chars: int = Field(4_000, ge=100, description="unspoken text before `text_paused`; half of it before `text_resumed`")
    open_utterances: int = Field(16, ge=1, description="per connection; one more is `overloaded`")
    connections: int = Field(4_000, ge=1, description="per process; one more is refused with 503")
    utterances: int = Field(2_000, ge=1, description="per process; one more is `overloaded`")
    idle_s: float = Field(300.0, gt=0, description="a connection with no open utterance and no message is closed with 1001")
    text_idle_s: float = Field(60.0, gt=0, description="an utterance that waits for text this long is ended with what it has")
    outbox_kb: int = Field(1_024, ge=16, description="unsent bytes per connection before the pipeline waits")
    slow_client_s: float = Field(10.0, gt=0, description="a full outbox that does not move this long is closed with 1008")
    rest_chars: int = Field(20_000, ge=1, description="text of one POST /api/tts; more is 413")


class StageSettings(Section):
    """How long a segment should be; weights count 1 per letter and 3 per CJK character."""

    clause_weight: int = Field(ge=1, description="a clause mark closes the segment from here on")
    max_weight: int = Field(ge=1, description="longer is cut at the best place inside")
    max_wait_s: float = Field(gt=0, description="after this the text held is released at its last clause or word")


class TextSettings(Section):
    """How text becomes segments; what is left out takes the segmenter's own default."""

    schedule: tuple[StageSettings, ...] = Field((), description="first, second, ... segment; the last stage holds for the rest")
    settle_s: float = Field(0.04, gt=0, description="wait after a full stop before it counts as the end")
    settle_dot_s: float = Field(0.15, gt=0, description="the same after `.`, `:` or a line's end, which may still turn out otherwise")


class EngineSettings(Section):
    """One engine's workers. `options` go to the engine itself, which refuses what it does not know."""

    factory: str | None = Field(None, description="which engine this is, where the table's name is one of its own")
    workers: int = Field(1, ge=0, le=512)
    cores: tuple[int, ...] | None = Field(None, description="cores to pin to; None leaves it to the kernel")
    rss_limit_mb: int | None = Field(None, description="a worker over this is replaced before it is told to leave")
    step_timeout_s: float = Field(10.0, gt=0, description="one step longer than this counts as a hang")
    options: dict[str, Any] = Field(default_factory=dict)


class BreakerSettings(Section):
    """When an engine is taken off the live path and when it returns."""

    window_s: float = Field(30.0, gt=0, description="results older than this are forgotten")
    least_results: int = Field(5, ge=1, description="fewer than this in the window never open it")
    bad_share: float = Field(0.5, gt=0, le=1, description="it opens from this share of failures or missed deadlines on")
    cool_down_s: float = Field(60.0, ge=0, description="then canaries are tried off the live path")
    good_canaries: int = Field(3, ge=1, description="in a row, until it closes again")


class AdmissionSettings(Section):
    """Who is turned away rather than served badly. Per API key; without keys all callers share one allowance."""

    per_second: float = Field(200.0, gt=0, description="utterances begun per second and key, on average")
    burst: int = Field(1_000, ge=1, description="utterances begun at once")
    streams_per_key: int = Field(2_000, ge=1, description="utterances in progress per key; one more is `overloaded`")
    waiting_jobs: int = Field(20_000, ge=1, description="segments waiting in the whole service")
    first_word_from_fallback: bool = Field(
        True, description="an utterance for which the first engine has no room may be begun by the next; false: it is `overloaded`"
    )
    begins_on_last_resort: bool = Field(False, description="the last of three or more engines may begin as well; false: it only rescues")


class CacheSettings(Section):
    """Spoken segments kept for the next time."""

    max_mb: int = Field(64, ge=0, description="0 turns the cache off")
    prewarm: Path | None = Field(None, description="prompt file, one line each: voice TAB language TAB text")
    redis_url: str | None = Field(None, description="a second tier that gateways share: redis://, rediss:// or unix://; extra `redis`")
    redis_wait_ms: float = Field(10.0, gt=0, description="no segment waits longer for it; a hit on a local network takes 1 to 4")
    redis_ttl_h: float = Field(168.0, gt=0, description="a segment is kept this long, so that old voices and models run out")
    redis_entry_kb: int = Field(4_096, ge=64, description="larger segments stay in memory alone; 60 s at 24 kHz take 2,900")


class LogSettings(Section):
    """One INFO line per utterance; the text itself only at DEBUG."""

    dir: Path | None = Field(None, description="None logs to stderr only")
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    max_mb: int = Field(20, ge=1)
    keep: int = Field(5, ge=1)


class Settings(BaseSettings):
    """All of it. Build with `load`."""

    model_config = SettingsConfigDict(env_prefix="REALTIME_", env_nested_delimiter="__", extra="forbid", frozen=True)

    server: ServerSettings = ServerSettings()
    limits: LimitSettings = LimitSettings()
    text: TextSettings = TextSettings()
    breaker: BreakerSettings = BreakerSettings()
    admission: AdmissionSettings = AdmissionSettings()
    cache: CacheSettings = CacheSettings()
    log: LogSettings = LogSettings()
    chain: tuple[str, ...] = Field((), description="engines from best to last resort; empty: what is installed")
    engines: dict[str, EngineSettings] = Field(default_factory=dict)
    default_voice: str | None = None
    stand_ins: dict[str, dict[str, str]] = Field(default_factory=dict, description="voice -> engine -> voice that takes over there")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def load(path: Path | None = None, **overrides: Any) -> Settings:
    """Read settings: defaults, then the file, then the environment, then `overrides` (tables, merged key by key).

    Raises `BadOption` that names the file, the key and what is wrong with it.
    """
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadOption(f"no settings file at {path}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadOption(f"{path}: not valid TOML: {error}") from None
    try:
        settings = Settings(**table)
        return settings.model_copy(update={key: _overridden(settings, key, value) for key, value in overrides.items()})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadOption(f"{path or 'settings'}: {where}: {first['msg']}") from None


def api_key_from_environment() -> str | None:
    """The key that commands send when none is given on the command line."""
    return os.environ.get("REALTIME_API_KEY")


def redis_url_from_environment() -> str | None:
    """The Redis that `realtime bench cache` measures with when none is given on the command line."""
    return os.environ.get("REALTIME_REDIS_URL")


def _overridden(settings: Settings, key: str, value: Any) -> Any:
    """A field with `value` over it, validated like the file's."""
    merged = _merge(settings.model_dump()[key], value) if isinstance(value, dict) else value
    wanted: Any = Settings.model_fields[key].annotation
    adapter: TypeAdapter[Any] = TypeAdapter(wanted)
    return adapter.validate_python(merged)


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        merged[key] = _merge(merged[key], value) if isinstance(value, dict) and isinstance(merged.get(key), dict) else value
    return merged
