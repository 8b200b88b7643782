"""The names of `triton.language`, read from the installed package's sources without importing it.

Where Triton is not installed, the names of the version that this was made with:
`python -c 'from kernelevolve.server.language_server.lints.triton_names import write; write()'` writes them anew.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

_SHIPPED = Path(__file__).with_name("triton_names.json")
_MODULES = ("core", "standard", "math", "random")
_HIDDEN = frozenset({"_semantic", "_generator", "_builder", "_callback"})


@dataclass(frozen=True)
class Word:
    """A name of `triton.language`."""

    name: str
    """E.g. `dot`, `math.exp`."""
    kind: str
    """`function`, `class`, `value` or `module`."""
    signature: str = ""
    """E.g. `(input, other, acc=None)`; empty for what is not called."""
    text: str = ""
    """The first paragraph of its docstring."""


@cache
def triton_version() -> tuple[int, ...]:
    """Version of the installed Triton, or of the names that stand in for it: `(3, 9, 0)`."""
    try:
        written = metadata.version("triton")
    except metadata.PackageNotFoundError:
        written = _shipped()["version"]
    return tuple(int(part) for part in re.findall(r"\d+", written)[:3])


@cache
def words() -> Mapping[str, Word]:
    """Every public name of `tl` and `tl.math`; takes a tenth of a second once, when Triton is installed."""
    folder = language_folder()
    if folder is None:
        return {name: Word(name, *parts) for name, parts in _shipped()["words"].items()}
    return {word.name: word for word in read_language(folder) if not word.name.startswith("_")}


@cache
def known_names() -> Mapping[str, frozenset[str]]:
    """Names by the module they are looked up in: `tl`, `tl.math`."""
    math = {name.removeprefix("math.") for name in words() if name.startswith("math.")}
    return {"tl": frozenset(name for name in words() if "." not in name), "tl.math": frozenset(math)}


def language_folder() -> Path | None:
    """Where the sources of the installed `triton.language` are; the package is not imported."""
    spec = importlib.util.find_spec("triton")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        folder = Path(place) / "language"
        if (folder / "__init__.py").is_file() and (folder / "core.py").is_file():
            return folder
    return None


def read_language(folder: Path) -> Iterator[Word]:
    """The names that `triton/language/__init__.py` offers, with what their definitions say."""
    definitions = {name: dict(_definitions(folder / f"{name}.py")) for name in _MODULES}
    for name, module, original in _offered(folder / "__init__.py"):
        if module in definitions and original in definitions[module]:
            yield _word(name, definitions[module][original])
        else:
            is_module = (folder / f"{name}.py").is_file() or (folder / name).is_dir()
            yield Word(name, "module" if is_module else "value")
    for path in sorted(folder.glob("*.py")):
        if path.stem != "__init__":
            yield Word(path.stem, "module")
    for name, node in definitions["math"].items():
        if not name.startswith("_"):
            yield _word(f"math.{name}", node)
    for name in _imported(folder / "math.py"):
        if name not in definitions["math"]:
            yield Word(f"math.{name}", "value")


def _offered(path: Path) -> Iterator[tuple[str, str, str]]:
    """Name, module and original name of everything that a package imports or defines at its top."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            for each in node.names:
                yield each.asname or each.name, node.module or "", each.name
        elif isinstance(node, ast.Import):
            for each in node.names:
                yield each.asname or each.name.split(".")[0], "", each.name
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, "", node.name
        elif isinstance(node, ast.Assign):
            yield from ((each.id, "", each.id) for each in node.targets if isinstance(each, ast.Name))


def _imported(path: Path) -> Iterator[str]:
    yield from (name for name, _, _ in _offered(path))


def _definitions(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    if not path.is_file():
        return
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign):
            yield from ((each.id, node) for each in node.targets if isinstance(each, ast.Name))


def _word(name: str, node: ast.stmt) -> Word:
    if isinstance(node, ast.FunctionDef):
        return Word(name, "function", signature(node), first_paragraph(ast.get_docstring(node) or ""))
    if isinstance(node, ast.ClassDef):
        start = next(
            (each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"), None
        )
        text = first_paragraph(ast.get_docstring(node) or "")
        return Word(name, "class", signature(start) if start is not None else "", text)
    return Word(name, "value")


def signature(node: ast.FunctionDef) -> str:
    """A function's arguments as they are written, without those that the compiler passes."""
    arguments = node.args
    ordered = [*arguments.posonlyargs, *arguments.args]
    missing = len(ordered) - len(arguments.defaults)
    parts = [
        _argument(each, arguments.defaults[place - missing] if place >= missing else None)
        for place, each in enumerate(ordered)
        if each.arg not in _HIDDEN | {"self"}
    ]
    if arguments.vararg is not None:
        parts.append(f"*{arguments.vararg.arg}")
    named = [
        _argument(each, default)
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if each.arg not in _HIDDEN
    ]
    if named and arguments.vararg is None:
        parts.append("*")
    return f"({', '.join([*parts, *named])})"


def _argument(node: ast.arg, default: ast.expr | None) -> str:
    return node.arg if default is None else f"{node.arg}={ast.unparse(default)}"


def first_paragraph(text: str) -> str:
    """The first paragraph of a docstring on one line, its reStructuredText roles turned into Markdown."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split()).split(":param")[0].strip()
    return re.sub(r"(?::\w+)?:`([^`]*)`|``([^`]*)``", lambda match: f"`{match[1] or match[2]}`", paragraph)


@cache
def _shipped() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_SHIPPED.read_text(encoding="utf-8"))
    return found


def write(folder: Path | None = None) -> None:
    """Write the names and signatures of the installed Triton into the file that stands in for it.

    Raises:
        FileNotFoundError: Triton is not installed.
    """
    folder = folder or language_folder()
    if folder is None:
        raise FileNotFoundError("Triton is not installed, so there is nothing to read its names from.")
    _SHIPPED.write_text(table(folder), encoding="utf-8")


def table(folder: Path) -> str:
    """What `write` writes: names and signatures, no texts."""
    found = {word.name: [word.kind, word.signature] for word in read_language(folder) if not word.name.startswith("_")}
    return json.dumps({"version": metadata.version("triton"), "words": found}, indent=0, sort_keys=True) + "\n"
