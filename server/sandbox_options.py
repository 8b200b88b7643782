"""`--sandbox`: one option, on every command that runs code of tasks or candidates."""

from __future__ import annotations

from typing import Annotated

import typer

SandboxOption = Annotated[
    str | None,
    typer.Option(
        "--sandbox",
        help="Walls around candidates: auto (all there is), bwrap, landlock, or none. Default: KERNELEVOLVE_SANDBOX, "
        "or auto. What is named and missing is an error.",
    ),
]
