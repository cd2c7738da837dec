"""Loading: options -> files -> stages -> engine, measured and warm."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from realtime.engines.indextts2 import voice_pack
from realtime.engines.indextts2.cost_history import steadied
from realtime.engines.indextts2.engine import IndexTts2
from realtime.engines.indextts2.kernels import load_kernels
from realtime.engines.indextts2.levels import LEVELS
from realtime.engines.indextts2.model_files import ModelFolder, find_model
from realtime.engines.indextts2.options import Options
from realtime.engines.indextts2.stages import load_stages, measured_costs
from realtime.engines.indextts2.tokens import DEFAULT_LIMIT, TextFrontEnd
from realtime.errors import ModelMissing

log = logging.getLogger(__name__)


def load_engine(table: Mapping[str, Any]) -> IndexTts2:
    """Raises `BadOption` for an unknown or wrong option, `ModelMissing` for absent or broken files."""
    first = Options.read(table)
    folder = ModelFolder.open(find_model(first.models_dir, first.model))
    options = Options.read({**folder.manifest.details.get("runtime", {}), **table})
    kernels = load_kernels(options.cores, options.cache_dir / "kernels")
    limit = min(DEFAULT_LIMIT, int(folder.config["gpt"]["max_text_tokens"]) - 2)
    per_job = 64 + limit + 3 + options.max_codes_base + int(options.max_codes_per_piece * limit)
    try:
        positions, cache = options.capacity * per_job, options.cache_dir / "indextts2"
        stages = load_stages(folder, kernels, options.precision, positions, cache, options.position_offset)
    except (KeyError, ValueError) as error:
        raise ModelMissing(f"{folder.path}: the weights do not fit config.json: {error}; export the model again") from error
    size = int(folder.config["gpt"]["number_text_tokens"])
    front_end = TextFrontEnd(folder.vocabulary(), size, folder.glossary(), limit)
    front_end.encode("1 预热 warm up.")
    revision = folder.manifest.revision
    packs = IndexTts2.accepted(voice_pack.read_folder(options.voices_dir), stages, revision, options.prompt_frames)
    stages.acoustic.solver.prepare(level.schedule for level in LEVELS)
    costs = steadied(measured_costs(stages), cache, f"{revision} {options.precision} {kernels.name} {kernels.features}")
    log.info("indextts2 %s on %s kernels (%s), %d threads: %s", revision, kernels.name, kernels.features, kernels.threads, costs)
    return IndexTts2(stages, front_end, packs, options, costs, revision)
