"""Which accelerator the installed torch was built for, without importing it (an import takes seconds)."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def torch_build() -> dict[str, str | None]:
    """What torch's own `version.py` says.

    Returns:
        `version`, `cuda` and `hip`, each a version text or None; empty when torch is not installed.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return {}
    tree = ast.parse((Path(spec.origin).parent / "version.py").read_text(encoding="utf-8"))
    found: dict[str, str | None] = {"version": None, "cuda": None, "hip": None}
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value))
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=value))
            ):
                key = "version" if name == "__version__" else name
                if key in found:
                    found[key] = value if isinstance(value, str) else None
    return found


def has_triton() -> bool:
    """Whether Triton is installed."""
    return find_spec("triton") is not None
