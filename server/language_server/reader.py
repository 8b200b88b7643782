"""The process beside the language server that reads texts: mistakes in them, and what their words mean.

Following the values through a large file takes a while; in the server's own process every keystroke would wait for it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from kernelevolve.server.language_server.lines import Call, Lines
from kernelevolve.server.language_server.lints import lint
from kernelevolve.server.language_server.words import complete, explain, warm_up


def _lint(_call: Call, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [asdict(found) for found in lint(given["text"])]


def _explain(_call: Call, given: Mapping[str, Any]) -> dict[str, Any] | None:
    found = explain(given["text"], given["line"], given["column"], given["targets"])
    return asdict(found) if found is not None else None


def _complete(_call: Call, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [asdict(found) for found in complete(given["text"], given["line"], given["column"], given["targets"])]


def main() -> None:
    """Answer the server on stdin and stdout."""
    lines = Lines({"lint": _lint, "explain": _explain, "complete": _complete})
    threading.Thread(target=warm_up, daemon=True).start()
    lines.serve()
    os._exit(0)


if __name__ == "__main__":
    main()
