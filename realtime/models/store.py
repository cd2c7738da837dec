"""Where models lie on disk, and which licences were accepted."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from realtime.models import manifest


@dataclass(frozen=True)
class Store:
    """The `models` folder of a data directory."""

    root: Path

    def model(self, engine: str, name: str) -> Path:
        """Folder of one exported model."""
        return self.root / engine / name

    def models(self, engine: str | None = None) -> list[Path]:
        """Folders of all exported models that have a manifest, by engine and name."""
        pattern = f"{engine or '*'}/*/{manifest.FILE_NAME}"
        return sorted(path.parent for path in self.root.glob(pattern) if not path.parent.parent.name.startswith("."))

    def snapshot(self, hub: str, repo: str, revision: str) -> Path:
        """Folder of one downloaded repository at one revision."""
        return self.root / ".snapshots" / hub / repo.replace("/", "--") / revision

    def accepted(self) -> dict[str, str]:
        """Licences accepted on this machine: `hub:repo` -> licence name."""
        path = self._licences
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    def accept(self, key: str, licence: str) -> None:
        """Remember that a licence was accepted, so that it is asked once."""
        self.root.mkdir(parents=True, exist_ok=True)
        draft = self._licences.with_suffix(".part")
        draft.write_text(json.dumps({**self.accepted(), key: licence}, indent=1), encoding="utf-8")
        os.replace(draft, self._licences)

    @property
    def _licences(self) -> Path:
        return self.root / "licences.json"
