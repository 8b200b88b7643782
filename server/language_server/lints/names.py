"""Rules about what a kernel's names stand for."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator

from kernelevolve.server.language_server.lints.finding import GLOBAL, HOST_LIBRARY, UNKNOWN_NAME, Lint
from kernelevolve.server.language_server.lints.flow import Values
from kernelevolve.server.language_server.lints.memory import BLOCK_POINTER_NAMES
from kernelevolve.server.language_server.lints.source import Kernel
from kernelevolve.server.language_server.lints.triton_names import known_names, triton_version

_HOST = {"torch": "tl", "numpy": "tl"}


def unknown(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """Attributes that `triton.language` (or `tl.math`) does not have."""
    known = known_names()
    for node in kernel.nodes:
        if not isinstance(node, ast.Attribute):
            continue
        owner = kernel.source.name_of(node.value)
        if owner not in ("tl", "tl.math") or node.attr in known[owner] or node.attr.startswith("_"):
            continue
        if f"{owner}.{node.attr}" in BLOCK_POINTER_NAMES:
            continue
        close = difflib.get_close_matches(node.attr, known[owner], n=1, cutoff=0.6)
        elsewhere = "tl.math" if owner == "tl" and node.attr in known["tl.math"] else ""
        version = ".".join(map(str, triton_version()))
        text = f"Triton {version} has no {owner}.{node.attr}."
        if elsewhere:
            text += f" It is {elsewhere}.{node.attr}."
        elif close:
            text += f" Nearest: {owner}.{close[0]}."
        yield UNKNOWN_NAME.at(node, text, "error" if kernel.is_certain(node) and not _asks_first(kernel) else "warning")


def _asks_first(kernel: Kernel) -> bool:
    """Whether the file looks whether a name exists before it uses it."""
    return any(
        isinstance(node, ast.Call) and kernel.source.name_of(node.func) in ("hasattr", "getattr")
        for node in kernel.source.nodes
    )


def module_values(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """Module-level numbers and lists that a kernel reads without their being constexpr."""
    local = set(kernel.parameters)
    local |= {each.id for each in kernel.nodes if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
    reported: set[str] = set()
    annotations = {
        inner for each in kernel.nodes if isinstance(each, ast.AnnAssign) for inner in ast.walk(each.annotation)
    }
    for node in kernel.nodes:
        if not isinstance(node, ast.Name) or node.id in local | reported or node in annotations:
            continue
        if node.id not in kernel.source.constants or _is_nested(kernel):
            continue
        reported.add(node.id)
        text = f"{node.id} is a plain global, which a kernel cannot read. Write {node.id} = tl.constexpr(...), "
        text += "or pass it as a `tl.constexpr` parameter."
        yield GLOBAL.at(node, text, "error" if kernel.is_certain(node) else "warning")


def _is_nested(kernel: Kernel) -> bool:
    """Whether it is defined inside something that may have a variable of that name."""
    return kernel.node not in kernel.source.tree.body


def host_libraries(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """Calls of torch and numpy, which run on the host."""
    for node in kernel.nodes:
        if not isinstance(node, ast.Call):
            continue
        name = kernel.source.name_of(node.func)
        library = name.split(".")[0]
        if library not in _HOST or "." not in name:
            continue
        leaf = name.split(".")[-1]
        text = f"{ast.unparse(node.func)} runs on the host; a kernel cannot call it."
        text += f" Use tl.{leaf}." if leaf in known_names()["tl"] else " Use triton.language."
        yield HOST_LIBRARY.at(node.func, text, "error" if kernel.is_certain(node) else "warning")
