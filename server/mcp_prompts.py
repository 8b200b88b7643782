"""Prompts: the usual jobs, as a client offers them to its user. Each says which tools to call and when to stop."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server import MCPServer
from pydantic import Field

from kernelevolve.search.prompt import fenced

OPTIMIZE = """\
Make the operator `{task}` fast on `{platform}` with KernelEvolve's tools. You are the author; the server judges.

1. `list_platforms`: which level can be reached for {platform} here? If it is not *executed*, say so to the user
   before you go on: nothing will be timed.
2. `start_search` with task `{task}` and platform `{platform}`. It answers with a search id and an order, whose
   prompt has all you need: the task, the candidate to build on, its verdict, why it is slow, what was tried.
3. Write the candidate that the order asks for and hand it in with `run_search_step`: order id, whole source, a few
   words on what you changed. Read the verdict. Take the next order from the answer.
4. Where a verdict leaves you without an idea, `profile_kernel` with the node says what the time goes into, and
   `retrieve_hardware_docs` answers questions about the chip.
5. Go on until the search ends, or until {attempts} candidates have brought nothing. Then `get_search` for the best.
6. When a technique clearly helped or clearly did not, keep it with `store_pattern` and the nodes that show it.

Report the speed-up with its interval and against which baseline, the level, and what limits the winner now. Never
claim a speed that no verdict states."""

PORT = """\
Port this {language} kernel to `{platform}`. It must compute what `{task}` computes.

1. `compile_and_verify` it as it is for `{platform}`: what fails, or what does it take of the hardware?
2. `retrieve_hardware_docs`, platforms [`{platform}`]: what differs from where it comes from: width of a warp or
   wave, matrix units and their shapes and types, shared memory, asynchronous copies, what the compiler does not
   have.
3. Change what is wrong first, what is slow afterwards; judge after every change.
4. `profile_kernel` with parts ["static"] shows spills, occupancy and unused matrix units without the device.

Report the level that was reached, what you changed and why, and what could not be checked here.

The kernel, as material:

{source}"""

EXPLAIN = """\
Explain the profile `{profile}` to an engineer who will act on it. Read the resource `{profile}` first.

- Where does the kernel stand: time, share of the roofline, what a perfect kernel would be bound by?
- What costs most? For each bottleneck that matters: what happens in the hardware, the evidence for it with its
  number and the line of the source, and the change that you would make. Read the linked `knowledge://` documents
  before you advise.
- What was not measured (`parts`), and would it change the picture?

Estimates are estimates: say so. Do not repeat the whole report."""

WRITE_DOCS = """\
Write documents for the hardware knowledge base about `{platform}`, so that assistants can write kernels for it. The
user has manuals; nothing may come from memory alone.

1. `retrieve_hardware_docs`, platforms [`{platform}`]: what is there already?
2. Read the user's sources. Write one document for each matter: memory spaces and sizes, execution model, matrix
   units and their shapes, synchronisation, what the compiler takes and refuses, how to measure, known pitfalls by
   symptom.
3. Each document is Markdown with front matter: title, kind, platforms, topics, sources with address and the date
   you read them. Facts carry the versions that they hold for. A number without a source is left out.
4. Under each heading one line `<!-- asked: question | question | question -->` with what a user would ask, in other
   words than the text's.
5. The user adds the folder with `kernelevolve knowledge add FOLDER --platform {platform}`. Then ask five questions
   that a kernel author has, and mend what does not come back."""


def add_prompts(server: MCPServer[Any]) -> None:
    """`optimize_operator`, `port_kernel`, `explain_profile`, `write_hardware_docs`."""

    @server.prompt(name="optimize_operator", title="Make an operator fast")
    def optimize_operator(
        task: Annotated[str, Field(description="Path of a task, or aten::<operator>.")],
        platform: Annotated[str, Field(description="e.g. cpu, cuda:sm_90, hip:gfx950")] = "cpu",
        attempts: Annotated[str, Field(description="Candidates without a gain after which to stop.")] = "12",
    ) -> str:
        """Search for a faster kernel, with you as the author."""
        return OPTIMIZE.format(task=task, platform=platform, attempts=attempts)

    @server.prompt(name="port_kernel", title="Port a kernel to another chip")
    def port_kernel(
        task: Annotated[str, Field(description="What it must compute: path of a task, or aten::<operator>.")],
        source: Annotated[str, Field(description="The kernel's source.")],
        platform: Annotated[str, Field(description="Where it should run, e.g. hip:gfx950")],
        language: Annotated[str, Field(description="triton, cuda, hip or cpp")] = "triton",
    ) -> str:
        """Bring a kernel to a platform that it was not written for."""
        return PORT.format(task=task, source=fenced(source), platform=platform, language=language)

    @server.prompt(name="explain_profile", title="Explain a profile")
    def explain_profile(
        profile: Annotated[str, Field(description="Address of a report, profile://…, from profile_kernel.")],
    ) -> str:
        """Say why a kernel is slow and what to do, from a report."""
        return EXPLAIN.format(profile=profile)

    @server.prompt(name="write_hardware_docs", title="Write documents about a chip")
    def write_hardware_docs(
        platform: Annotated[str, Field(description="Known platform, or a new name for your own accelerator.")],
    ) -> str:
        """Teach the knowledge base a chip from its manuals."""
        return WRITE_DOCS.format(platform=platform)
