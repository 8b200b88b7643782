"""Rules about `@triton.autotune` and the launch."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from kernelevolve.server.language_server.lints.finding import TUNE_CONFIG, TUNE_KEY, TUNE_ORDER, Lint
from kernelevolve.server.language_server.lints.flow import Values, argument_nodes
from kernelevolve.server.language_server.lints.shapes import is_power_of_two
from kernelevolve.server.language_server.lints.source import Kernel, whole_number


def keys(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """`@triton.autotune` without a key, or with one that names no argument."""
    for name, node in kernel.decorators:
        if name != "triton.autotune" or not isinstance(node, ast.Call):
            continue
        given = argument_nodes(node, ("configs", "key"))
        if any(each.arg is None for each in node.keywords) or any(isinstance(e, ast.Starred) for e in node.args):
            continue
        if "key" not in given:
            text = "triton.autotune needs key=: the names of the arguments whose change starts a new tuning, "
            text += 'e.g. key=["M", "N", "K"].'
            yield TUNE_KEY.at(node, text, "error")
            continue
        key = given["key"]
        if not isinstance(key, ast.List | ast.Tuple):
            continue
        if not key.elts and len(kernel.configurations) > 1:
            text = "An empty key: the first shapes that come decide the configuration for all others."
            yield TUNE_KEY.at(key, text, "information")
        for each in key.elts:
            if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value not in kernel.parameters:
                text = f"{kernel.node.name} has no argument {each.value!r}; Triton 3.9 refuses the key, older versions "
                text += "silently tune once for all its values."
                yield TUNE_KEY.at(each, text, "error" if _is_kernel_own(kernel) else "warning")


def _is_kernel_own(kernel: Kernel) -> bool:
    """Whether nothing but Triton's own decorators wraps the function, so that its arguments are the tuner's."""
    return all(name in ("triton.jit", "triton.autotune", "triton.heuristics") for name, _ in kernel.decorators)


def configurations(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """Configurations with parameters that the kernel lacks, or an impossible number of warps."""
    if not any(name == "triton.autotune" for name, _ in kernel.decorators):
        return
    pruned = any(each.arg == "prune_configs_by" for _, node in kernel.decorators for each in _keywords(node))
    for each in kernel.configurations:
        for name, node in each.nodes.items():
            if name not in kernel.parameters and name not in ("num_warps", "num_stages", "num_ctas", "maxnreg"):
                if name in _BACKEND_OPTIONS or pruned:
                    # Pruning may make other configurations of these.
                    continue
                yield TUNE_CONFIG.at(node, f"{kernel.node.name} has no parameter {name!r}.", "warning")
        for option in each.node.keywords:
            number = whole_number(option.value)
            if option.arg in ("num_warps", "num_ctas") and number is not None and not is_power_of_two(number):
                text = f"{option.arg}={number}: it must be a power of two."
                yield TUNE_CONFIG.at(option.value, text, "warning")


def _keywords(node: ast.expr) -> list[ast.keyword]:
    return node.keywords if isinstance(node, ast.Call) else []


_BACKEND_OPTIONS = frozenset(
    """
    waves_per_eu matrix_instr_nonkdim kpack schedule_hint allow_flush_denorm max_num_imprecise_acc_default
    enable_fp_fusion maxnreg num_consumer_groups num_buffers_warp_spec grf_mode ctas_per_cga
    """.split()
)
"""What back ends and forks take in the table of a configuration beside the kernel's own parameters."""


def order(kernel: Kernel, values: Values) -> Iterator[Lint]:
    """`@triton.jit` above the tuner."""
    names = [name for name, _ in kernel.decorators]
    first = names.index("triton.jit")
    for name, node in kernel.decorators[first + 1 :]:
        if name in ("triton.autotune", "triton.heuristics"):
            text = f"@{name} stands below @triton.jit, which compiles the plain function. Write @triton.jit last."
            yield TUNE_ORDER.at(node, text, "error")
