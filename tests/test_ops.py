"""The operator's files agree with the code they speak of."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from realtime import metrics

ROOT = Path(__file__).resolve().parent.parent
OPS = ROOT / "ops"


def test_every_alert_names_a_paragraph_of_the_runbook_and_metrics_that_exist() -> None:
    runbook = (OPS / "RUNBOOK.md").read_text(encoding="utf-8")
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.+)$", runbook, re.M)}
    exposed = metrics.render().decode()
    rules = yaml.safe_load((OPS / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    assert rules
    for rule in rules:
        assert rule["annotations"]["runbook"].split("#")[1] in anchors, rule["alert"]
        for name in re.findall(r"realtime_\w+", rule["expr"]):
            base = re.sub(r"_(total|bucket)$", "", name)
            assert f"# HELP {base}" in exposed, name


def test_deployment_files_are_valid_yaml_and_probe_paths_exist() -> None:
    routes = (ROOT / "realtime" / "server" / "routes.py").read_text(encoding="utf-8")
    for path in [OPS / "compose.yaml", OPS / "prometheus.yaml", *sorted((OPS / "k8s").glob("*.yaml"))]:
        text = path.read_text(encoding="utf-8")
        assert list(yaml.safe_load_all(text))
        for probe in re.findall(r"path: (/\w+),", text):
            assert f'"{probe}"' in routes


def test_readme_has_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [line.strip() for line in lines if "python3 -m venv .venv &&" in line]
    assert len(commands) == 2
    assert commands[0].endswith("realtime demo") and commands[1].endswith("pytest")
