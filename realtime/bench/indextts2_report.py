"""The tables of `realtime bench engine indextts2`."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def show(console: Console, result: dict[str, Any]) -> None:
    """Print everything that was measured."""
    console.print(_stages(result["stages"]), _levels(result["levels"]))
    console.print("tokens/s by batch:", {k: round(v, 1) for k, v in result["tokens_per_s"].items()})
    console.print("audio s/s by jobs:", {k: round(v, 2) for k, v in result["jobs"].items()})
    console.print("memory of a fresh process, MB:", {k: round(v) for k, v in result["memory_mb"].items()})
    if "neighbour" in result:
        console.print(_neighbour(result["neighbour"], result["neighbour_shares"]))
    if result["hosts"]:
        console.print(hosts(result["hosts"]))


def _stages(stages: dict[str, dict[str, float]]) -> Table:
    table = Table("stage", "torch ms", "ours ms", "ratio", title="stages")
    for name, row in stages.items():
        theirs, mine = row.get("torch_s", 0.0), row["ours_s"]
        ratio = f"{theirs / mine:.1f}" if theirs and mine else "-"
        table.add_row(name, f"{1000 * theirs:.1f}" if theirs else "-", f"{1000 * mine:.1f}", ratio)
    return table


def _levels(levels: list[dict[str, Any]]) -> Table:
    setting = ("name", "precision", "steps", "guidance", "chunk", "context", "prompt")
    measured = ("rtf", "speedup", "first_audio_ms", "least_lead_ms", "longest_step_ms", "distance_db")
    title = "levels (precision: language/flow/vocoder; context: frames + codes of look-ahead; lead: sound out when the tightest chunk came)"
    table = Table(*setting, "RTF", "speedup", "first ms", "least lead ms", "longest step ms", "dB to exact fp32", title=title)
    for row in levels:
        figures = [row.get(name) for name in measured]
        table.add_row(*(row[name] for name in setting), *("-" if cell is None else f"{cell:.{0 if cell > 99 else 2}f}" for cell in figures))
    return table


def _neighbour(pieces: dict[str, dict[str, float]], shares: tuple[float, float]) -> Table:
    title = f"a busy process on one core: {shares[0]:.2f} times as long where it takes half of the core, {shares[1]:.2f} where all of it"
    table = Table("work", "alone", "beside", "times", "torch alone", "beside", "times", title=title)
    for name, row in pieces.items():
        cells = []
        for who in ("ours", "torch"):
            seconds = [f"{1000 * row[f'{who}_{when}_s']:.1f} ms" for when in ("alone", "beside")] if f"{who}_times" in row else ["-", "-"]
            cells += [*seconds, f"{row[f'{who}_times']:.2f}" if f"{who}_times" in row else "-"]
        table.add_row(name, *cells)
    return table


def hosts(rows: list[dict[str, Any]], level: str = "fast") -> Table:
    """The reckoned hosts."""
    title = f"IndexTTS-2, level {level}, this host and larger ones (reckoned from its figures)"
    table = Table("cores", "RTF of one job", "first audio ms", "tokens/s", "workers", "sound s/s in all", "memory GB", title=title)
    for row in rows:
        bound = " (memory)" if row["is_memory_bound"] else ""
        cells = (f"{row['rtf']:.2f}", f"{1000 * row['first_audio_s']:.0f}", f"{row['tokens_per_s']:.0f}", str(row["workers"]))
        table.add_row(str(row["cores"]), *cells, f"{row['audio_s_per_s']:.1f}{bound}", f"{row['memory_gb']:.1f}")
    return table
