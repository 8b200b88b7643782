"""Strict typing and the layer table of ARCHITECTURE.md, over a view in which the folders lie inside `kernelevolve/`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VIEW = ROOT / ".view"
FOLDERS = ("evaluation", "knowledge", "profilers", "search", "tools", "server")


def main() -> int:
    """Build the view, run both tools in it, answer the worse exit code."""
    package = VIEW / "kernelevolve"
    package.mkdir(parents=True, exist_ok=True)
    for folder in FOLDERS:
        link = package / folder
        if not link.is_symlink():
            link.symlink_to(ROOT / folder)
    # import-linter wants a package with an __init__; the installed one is a namespace.
    (package / "__init__.py").write_text('"""View of the source tree for tools."""\n')
    environment = {**os.environ, "PYTHONPATH": str(VIEW), "MYPYPATH": str(VIEW)}
    python = Path(sys.executable).parent
    commands = [
        [str(python / "lint-imports"), "--config", str(ROOT / "pyproject.toml")],
        [str(python / "mypy"), "--config-file", str(ROOT / "pyproject.toml"), "-p", "kernelevolve"],
    ]
    return max(subprocess.run(command, cwd=VIEW, env=environment, check=False).returncode for command in commands)


if __name__ == "__main__":
    sys.exit(main())
