"""Compile kernels for sm_90 in a process of its own: a JSON list of source texts in, a list of errors (or null) out."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import tempfile
from pathlib import Path


def error_of(path: Path) -> str | None:
    """What Triton says about the function `kernel` of a file; None where it compiles it."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        function = module.kernel
        constants = {}
        while not isinstance(function, triton.JITFunction):
            if hasattr(function, "configs"):
                constants |= function.configs[0].kwargs
            function = function.fn
        signature = {}
        for name, parameter in inspect.signature(function.fn).parameters.items():
            if "constexpr" in str(parameter.annotation):
                signature[name] = "constexpr"
                constants.setdefault(name, parameter.default)
            else:
                signature[name] = "*fp32" if name.endswith("_ptr") else "i32"
        triton.compile(ASTSource(function, signature, constants), target=GPUTarget("cuda", 90, 32))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return f"{type(error).__name__}: {error}"
    return None


def main() -> None:
    """Answer for every source on the standard input."""
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(json.load(sys.stdin)):
            path = Path(folder) / f"sample_{number}.py"
            path.write_text(text, encoding="utf-8")
            answers.append(error_of(path))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
