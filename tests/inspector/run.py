"""The MCP Inspector's command line looks at `kernelevolve serve` over stdio, in both eras.

Usage: python -m tests.inspector.run FOLDER, with the Inspector installed in FOLDER (`make inspect` does both).
`tools/list --strict` fails on a schema that some client can't read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernelevolve.evaluation.judge.client import start_warm_host, stop_warm_host
from tests.conformance.run import ConformanceError, node

LAUNCHER = Path("node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js")
ASKED = (
    ("tools/list", "tools", True),
    ("prompts/list", "prompts", False),
    ("resources/templates/list", "resourceTemplates", False),
)


def look(folder: Path, state: Path, era: str, method: str, key: str, strict: bool) -> str | None:
    """Ask once; what is wrong, or None."""
    server = [str(Path(sys.executable).parent / "kernelevolve"), "serve", "--state", str(state)]
    options = ["--method", method, "--protocol-era", era, "--format", "json", *(["--strict"] if strict else [])]
    environment = {**os.environ, "MCP_CATALOG_PATH": str(state / "catalog.json")}
    done = subprocess.run(
        [node(folder), str(folder / LAUNCHER), "--cli", *server, *options],
        capture_output=True, text=True, timeout=120, check=False, env=environment, cwd=state,
    )  # fmt: skip
    if done.returncode or done.stderr.strip():
        return f"{method}, {era}: exit code {done.returncode}\n{done.stderr}"
    listed = json.loads(done.stdout)["result"][key]
    print(f"{method}, {era}: {len(listed)} listed{', strictly' if strict else ''}", flush=True)
    return None if listed else f"{method}, {era}: nothing was listed"


@contextmanager
def warm(state: Path) -> Iterator[None]:
    """A warm judge that the servers find: the Inspector ends each of them before one of its own would be up."""
    start_warm_host(state)
    try:
        yield
    finally:
        stop_warm_host(state)


def main() -> int:
    """Ask all; 1 if anything is wrong."""
    folder = Path(sys.argv[1]).resolve()
    wrong = []
    with tempfile.TemporaryDirectory(prefix="inspector-") as scratch, warm(Path(scratch)):
        for era in ("legacy", "modern"):
            for method, key, strict in ASKED:
                wrong.append(look(folder, Path(scratch), era, method, key, strict))
    faults = [fault for fault in wrong if fault is not None]
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ConformanceError as error:
        sys.exit(f"inspector: {error}")
