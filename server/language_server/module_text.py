"""Run the text of an open file as a module, as it would be imported from its place."""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.util
import linecache
import sys
import traceback
from pathlib import Path
from types import CodeType, ModuleType

from kernelevolve.server.language_server.costs import Refusal

_INSTALLED = ("site-packages", "dist-packages")


class LoadError(Exception):
    """The text cannot be run as a module.

    Args:
        refusal: why, and where.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class _TextLoader(importlib.abc.Loader):
    def __init__(self, code: CodeType) -> None:
        self._code = code

    def create_module(self, spec: object) -> None:
        """The usual module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the text."""
        exec(self._code, vars(module))


def load_text(path: Path, text: str) -> ModuleType:
    """Run a text as the module that lies at a path.

    A file inside a package gets its name there, so that relative imports work. Its folder, or the package's, can be
    imported from, as for a script.

    Raises:
        LoadError: it does not parse, or running it failed.
    """
    root, name = _place(path)
    if "." in name:
        sys.path.insert(0, str(root))
    else:
        # Last, since what lies beside a candidate may be called triton.py or torch.py.
        sys.path.append(str(root))
    try:
        code = compile(text, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = (error.lineno or 1) - 1
        column = None if error.offset is None else max(error.offset - 1, 0)
        raise LoadError(Refusal(f"Syntax error: {error.msg}.", line=line, column=column)) from error
    except ValueError as error:
        raise LoadError(Refusal(f"This is not Python source: {error}.")) from error
    # Triton reads a kernel's text through `inspect`. An entry without a time is one that `linecache` does not check.
    linecache.cache[str(path)] = (len(text), None, text.splitlines(keepends=True), str(path))
    spec = importlib.util.spec_from_loader(name, _TextLoader(code), origin=str(path))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    try:
        if "." in name:
            package = importlib.import_module(name.rpartition(".")[0])
            module.__package__ = package.__name__
        sys.modules[name] = module
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise LoadError(_refusal(path, error)) from error
    return module


def _refusal(path: Path, error: BaseException) -> Refusal:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = frames[-1].lineno if frames else None
    first = (str(error).strip().splitlines() or [""])[0][:300]
    advice = ""
    if isinstance(error, ModuleNotFoundError):
        advice = f" Install {error.name} beside kernelevolve, or start the language server with the project's Python."
    return Refusal(
        f"Importing this file raised {type(error).__name__}: {first}.{advice}",
        line=None if line is None else line - 1,
    )


def _place(path: Path) -> tuple[Path, str]:
    """The folder to import from, and the module's name."""
    parts = [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        parts.insert(0, folder.name)
        folder = folder.parent
    if len(parts) == 1 or not all(part.isidentifier() for part in parts):
        # A name of its own: a file called triton.py or torch.py must not take the place of the library.
        return path.parent, f"kernelevolve_open_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if path.stem == "__init__":
        parts.pop()
    return folder, ".".join(parts)


def rests_on(path: Path, before: set[str]) -> list[Path]:
    """Files of the workspace that a module imported: those beside it, of its package, and not installed elsewhere."""
    root, name = _place(path)
    found = []
    for module_name in set(sys.modules) - before:
        file = getattr(sys.modules[module_name], "__file__", None)
        if not file or file == str(path):
            continue
        same_package = "." in name and module_name.partition(".")[0] == name.partition(".")[0]
        inside = Path(file).is_relative_to(root) and not any(part in _INSTALLED for part in Path(file).parts)
        if same_package or inside:
            found.append(Path(file))
    return found
