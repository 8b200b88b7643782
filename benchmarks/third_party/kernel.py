"""One kernel of somebody else's: how to call it, its reference, and the texts of task and candidate made of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HALF = ("float32", "float16", "bfloat16")
"""Dtypes of kernels that take any; the first is timed."""
GPU_ROWS = ({"rows": 2048, "cols": 4096}, {"rows": 1023, "cols": 1000})
CPU_ROWS = ({"rows": 12, "cols": 128}, {"rows": 5, "cols": 33})


@dataclass(frozen=True)
class Kernel:
    """An operator of a package, and what PyTorch says about it."""

    name: str
    """`package/operator`."""
    imports: str
    """Statements that import it."""
    call: str
    """Expression that calls it with `inputs`."""
    reference: str
    """The same in PyTorch; an expression over `inputs`."""
    inputs: dict[str, str] = field(default_factory=lambda: {"x": "torch.randn(case.rows, case.cols)"})
    """Argument → expression over `case`."""
    gpu: tuple[dict[str, Any], ...] = GPU_ROWS
    """Cases for a GPU."""
    cpu: tuple[dict[str, Any], ...] = CPU_ROWS
    """Cases for the interpreter, which is a million times slower."""
    dtypes: tuple[str, ...] = HALF
    """Dtypes of the floating-point inputs."""
    options: str = ""
    """Further statements of the task (`LAYOUTS`, `TOLERANCES`, …) and functions the reference needs."""
    why: str = ""
    """Why `options` asks for less than the judge does by default."""
    interpreted: bool = True
    """Whether Triton's interpreter can run it."""

    @property
    def package(self) -> str:
        """Name of the package."""
        return self.name.split("/")[0]

    def task(self, gpu: bool) -> str:
        """Text of the task file."""
        cases = {f"case{number}": case for number, case in enumerate(self.gpu if gpu else self.cpu)}
        names = ", ".join(self.inputs)
        made = "\n".join(f"    {name} = {expression}" for name, expression in self.inputs.items())
        return (
            f'"""{self.name}"""\n'
            "import math\n\nimport torch\nfrom torch.nn import functional as F\n\n"
            f"CASES = {cases!r}\nDTYPES = {self.dtypes!r}\n{self.options}\n\n"
            f"def make_inputs(case):\n{made}\n    return ({names},)\n\n"
            f"def reference({names}):\n    return {self.reference}\n"
        )

    def candidate(self, preamble: str) -> str:
        """Text of the candidate: a wrapper that imports the kernel and calls it."""
        return (
            f"import torch\n{preamble}\n{self.imports}\n\n"
            f"def kernel({', '.join(self.inputs)}):\n    return {self.call}\n"
        )
