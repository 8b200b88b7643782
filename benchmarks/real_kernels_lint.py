"""What the editor says about Triton kernels that others wrote: no exception, and no error about one that compiles.

Every Python file below the folders is linted. Then the kernels of the files (or of a sample of them) are compiled as
the language server does it, with the types that it guesses, and each `error` about a kernel that compiles counts as a
false one: there must be none. The files are imported, so the folders must be trusted and their requirements installed.

    pip download --no-deps liger-kernel flag-gems && unzip …
    GEMS_VENDOR=nvidia python benchmarks/real_kernels_lint.py liger_kernel flag_gems --sample 60 --json results.json
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import multiprocessing
import os
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from kernelevolve.server.language_server.kernels import Kernel, Kind, scan
from kernelevolve.server.language_server.lints import Lint, lint


class File:
    """One source file, what is said about it, and what compiled of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8", errors="replace")
        self.exception = ""
        self.lints: list[Lint] = []
        began = time.perf_counter()
        try:
            self.lints = lint(self.text)
        except Exception:  # noqa: BLE001 - counted and shown: there must be none
            self.exception = traceback.format_exc()
        self.lint_ms = 1000 * (time.perf_counter() - began)
        self.functions = scan(self.text).kernels
        self.kernels = [each for each in self.functions if each.kind is Kind.KERNEL]
        self.costs: list[dict[str, Any]] = []
        self.trouble = ""

    def request(self, targets: list[str]) -> dict[str, Any]:
        """What the language server asks its compiler."""
        kernels = [
            {"name": each.name, "types": dict(each.types), "hash": each.text_hash, "line": each.line}
            for each in self.kernels
        ]
        return {
            "path": str(self.path), "text": self.text, "language": "triton", "targets": targets, "task": None,
            "kernels": kernels,
        }  # fmt: skip

    @property
    def compiled(self) -> set[str]:
        """Kernels that compiled for some target."""
        return {cost["kernel"] for cost in self.costs if cost["refusal"] is None}

    def false_errors(self) -> Iterator[tuple[str, Lint]]:
        """Errors about what the compiler took: the kernels that compiled and the functions that they call."""
        by_name = {each.name: each for each in self.functions}
        waiting, seen = sorted(self.compiled & set(by_name)), set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            span = by_name[name]
            waiting += [called for called in _called(self.text, span) if called in by_name]
            for found in self.lints:
                if found.severity == "error" and span.top <= found.line <= span.end:
                    yield name, found


def _called(text: str, span: Kernel) -> set[str]:
    lines = text.splitlines()[span.line : span.end + 1]
    indent = len(lines[0]) - len(lines[0].lstrip())
    try:
        tree = ast.parse("\n".join(line[indent:] for line in lines))
    except SyntaxError:
        return set()
    return {each.func.id for each in ast.walk(tree) if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)}


def compile_apart(file: File, targets: list[str], limit_s: float) -> None:
    """Compile a file's kernels in a forked child, which a crash or an endless compilation ends."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    child = fork.Process(target=_compile, args=(file.request(targets), theirs))
    child.start()
    theirs.close()
    deadline = time.monotonic() + limit_s
    try:
        while True:
            if not ours.poll(max(0.0, deadline - time.monotonic())):
                file.trouble = f"given up after {limit_s:.0f} s"
                break
            answer = ours.recv()
            if "cost" in answer:
                file.costs.append(answer["cost"])
                continue
            file.trouble = (answer["refusal"] or {}).get("message", "")
            break
    except EOFError:
        file.trouble = "the compiler's process died"
    child.kill()
    child.join()


def _compile(request: dict[str, Any], answers: Any) -> None:
    from kernelevolve.server.language_server.compile_job import compile_file

    os.dup2(2, 1)
    result = compile_file(request, lambda cost: answers.send({"cost": asdict(cost)}))
    answers.send({"refusal": result["refusal"]})


def import_packages(folders: list[Path]) -> None:
    """Import what every child would import again."""
    from kernelevolve.evaluation.languages.stand_in_device import stand_in_device
    from kernelevolve.server.language_server import compile_job  # noqa: F401 - the children use it

    with stand_in_device("sm_90", "cpu"):
        for folder in folders:
            if (folder / "__init__.py").is_file():
                sys.path.insert(0, str(folder.resolve().parent))
                importlib.import_module(folder.name)


def report(files: list[File], asked: list[File], folders: list[Path], targets: list[str]) -> dict[str, Any]:
    """The counts."""
    versions = {
        each.metadata["Name"]: each.version
        for folder in folders
        for each in metadata.distributions(path=[str(folder.resolve().parent)])
    }
    kernels = [(file, kernel) for file in asked for kernel in file.kernels]
    compiled = sum(kernel.name in file.compiled for file, kernel in kernels)
    unasked = [file for file in asked if file.trouble and not file.costs]
    refused = Counter(
        cost["refusal"]["message"][:120] for file in asked for cost in file.costs if cost["refusal"] is not None
    )
    lints = Counter((each.code, each.name, each.severity) for file in files for each in file.lints)
    return {
        "packages": versions,
        "triton": metadata.version("triton"),
        "targets": targets,
        "files": len(files),
        "exceptions": [f"{file.path}: {file.exception}" for file in files if file.exception],
        "jit_functions": sum(len(file.functions) for file in files),
        "kernels": sum(len(file.kernels) for file in files),
        "lint_ms": {
            "median": round(sorted(file.lint_ms for file in files)[len(files) // 2], 1),
            "longest": round(max(file.lint_ms for file in files), 1),
        },
        "lints": [
            {"code": code, "name": name, "severity": severity, "count": count}
            for (code, name, severity), count in sorted(lints.items())
        ],
        "asked": {
            "files": len(asked),
            "kernels": len(kernels),
            "compiled": compiled,
            "rate": round(compiled / len(kernels), 3) if kernels else None,
            "not_imported": {
                "files": len(unasked),
                "kernels": sum(len(file.kernels) for file in unasked),
                "why": dict(Counter(file.trouble[:120] for file in unasked)),
            },
            "refused": dict(refused.most_common(20)),
        },
        "false_errors": [
            f"{file.path}:{found.line + 1} {name}: {found.code} {found.message}"
            for file in asked
            for name, found in file.false_errors()
        ],
    }


def show(result: dict[str, Any]) -> None:
    """The counts for people."""
    asked = result["asked"]
    print(f"{result['files']} files, {result['jit_functions']} @triton.jit functions, {result['kernels']} kernels")
    print(f"exceptions: {len(result['exceptions'])}; lint of a file: median {result['lint_ms']['median']} ms")
    for each in result["lints"]:
        print(f"  {each['code']} {each['name']:32} {each['severity']:12} {each['count']}")
    print(f"compiled {asked['compiled']} of {asked['kernels']} kernels in {asked['files']} files ({asked['rate']})")
    print(f"  not imported: {asked['not_imported']}")
    for message, count in asked["refused"].items():
        print(f"  refused {count}: {message}")
    print(f"false errors: {len(result['false_errors'])}")
    for line in [*result["false_errors"], *result["exceptions"]]:
        print(f"  {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--targets", default="cuda:sm_90", help="platforms, with commas between them")
    parser.add_argument("--sample", type=int, help="compile the kernels of this many files, chosen at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="compile only files whose path contains this")
    parser.add_argument("--skip", nargs="*", default=[], help="do not compile files whose path contains one of these")
    parser.add_argument("--limit", type=float, default=180.0, help="seconds for one file")
    parser.add_argument("--minutes", type=float, default=600.0, help="stop compiling after this; say so in the result")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    targets = given.targets.split(",")
    paths = sorted({path for folder in given.folders for path in folder.rglob("*.py")})
    files = [File(path.resolve()) for path in paths]
    wanted = [
        file
        for file in files
        if file.kernels and given.only in str(file.path) and not any(part in str(file.path) for part in given.skip)
    ]
    if given.sample is not None and given.sample < len(wanted):
        wanted = random.Random(given.seed).sample(wanted, given.sample)
    if wanted:
        import_packages(given.folders)
    deadline = time.monotonic() + 60 * given.minutes
    asked = []
    for number, file in enumerate(wanted, 1):
        if time.monotonic() > deadline:
            print(f"stopped after {len(asked)} of {len(wanted)} files", file=sys.stderr)
            break
        compile_apart(file, targets, given.limit)
        asked.append(file)
        print(f"{number}/{len(wanted)} {file.path.name}: {len(file.compiled)}/{len(file.kernels)}", file=sys.stderr)
    result = report(files, asked, given.folders, targets)
    show(result)
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if result["false_errors"] or result["exceptions"] else 0


if __name__ == "__main__":
    sys.exit(main())
