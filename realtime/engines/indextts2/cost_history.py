"""What this host took at its last loads: a trial that met a busy moment does not make a slow host of it.

Costs are measured in a second, while other workers may be loading or speaking; what disturbs only adds. Believed are therefore the least
of the last `KEPT` trials of the same model, kernels and processor, so that a host that has become slower is found out after as many. A
host thought too slow is far worse than one thought a little too fast: where no chunk seems to pay for itself each one stalls
(`chunks.py`), where one is late the next engine covers for it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from pathlib import Path

from realtime.engines.indextts2.chunks import Costs

KEPT = 5
PRICES = ("decode_s", "flow_s", "vocode_s", "alone_s", "delay_s")

log = logging.getLogger(__name__)


def steadied(costs: Costs, folder: Path, identity: str) -> Costs:
    """`costs` with each price the least of the last trials, this one included, which is noted in `folder`. `identity`: what must be the
    same for trials to be comparable, apart from the processor. A folder that can't be written or read is told in the log."""
    name = hashlib.sha256(f"{identity} {processor_name()} {costs.cores} {costs.margin_frames}".encode()).hexdigest()[:20]
    path = folder / f"costs-{name}.json"
    trials = [*_read(path), {price: getattr(costs, price) for price in PRICES}][-KEPT:]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.part")
        draft.write_text(json.dumps(trials), encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        log.warning("cannot note what this host takes in %s: %s", folder, error)
    known = {price: [trial[price] for trial in trials if trial[price] is not None] for price in PRICES}
    return dataclasses.replace(costs, **{price: min(values) for price, values in known.items() if values})


def _read(path: Path) -> list[dict[str, float | None]]:
    """Trials noted before, oldest first; none where the file is absent or not ours."""
    try:
        trials = json.loads(path.read_text(encoding="utf-8"))
        return [{price: None if trial[price] is None else float(trial[price]) for price in PRICES} for trial in trials]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("%s is not a list of trials (%s): begun anew", path, error)
        return []


def processor_name() -> str:
    """The processor's name (proc(5), `model name`); empty where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
