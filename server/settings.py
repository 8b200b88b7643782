"""Settings: one resolver for what flags, environment and defaults say."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder(given: Path | None = None) -> Path:
    """The folder that holds receipts, caches and searches.

    Args:
        given: from `--state`; else `KERNELEVOLVE_STATE`, else `$XDG_STATE_HOME/kernelevolve`, else
            `~/.local/state/kernelevolve`.
    """
    if given is not None:
        return given
    if named := os.environ.get("KERNELEVOLVE_STATE"):
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "kernelevolve"
