"""Changes to a Triton module that keep its meaning: launch options, block sizes, grids, pipelining and cache hints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from kernelevolve.search.synthesizers.edit import Edit
from kernelevolve.search.synthesizers.triton_code import Kernel, Module, Scope, keyword_value, whole_number
from kernelevolve.search.synthesizers.triton_grids import persistent_edits

_WARPS = (1, 2, 4, 8, 16)
_DEFAULT_WARPS = 4
_STAGES = (1, 2, 3, 4, 5)
_DEFAULT_STAGES = 3
_FIRST_STAGES = (2, 3, 4)
"""What is tried first at a loop that states none."""
_HINTS = {"cache_modifier": (".cg", ".ca"), "eviction_policy": ("evict_first", "evict_last")}
_BLOCK_NAME = re.compile(r"BLOCK")
_SMALLEST_BLOCK, _LARGEST_BLOCK = 16, 32768
_LOAD_POSITIONS = 5
"""Positional arguments of `tl.load` before `cache_modifier`."""


def triton_edits(text: str) -> list[Edit]:
    """Every change this module can make to a source; empty where the source cannot be parsed."""
    try:
        module = Module(text)
    except (SyntaxError, ValueError, RecursionError):
        return []
    return [
        change
        for change in (
            *_launch_edits(module),
            *_literal_block_edits(module),
            *_named_block_edits(module),
            *_range_edits(module),
            *_hint_edits(module),
            *persistent_edits(module),
        )
        if _parses(change.apply(text))
    ]


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


# Launch options


def _launch_edits(module: Module) -> Iterator[Edit]:
    for number, (kernel, call) in enumerate(module.launches, 1):
        where = f"launch {number} of `{kernel.name}`"
        own = kernel.marked("autotune") or kernel.marked("heuristics")
        yield from _options(module, call, where, may_add=not own, streams=kernel.streams, taken=set(kernel.parameters))
    for number, (owner, call) in enumerate(module.configs, 1):
        owners = [owner] if owner is not None else list(module.kernels.values())
        taken = {name for kernel in owners for name in kernel.parameters}
        streams = all(kernel.streams for kernel in owners)
        yield from _options(module, call, f"config {number}", len(call.args) < 2, streams, taken)


def _options(
    module: Module, call: ast.Call, where: str, may_add: bool, streams: bool, taken: set[str]
) -> Iterator[Edit]:
    may_add = may_add and all(word.arg is not None for word in call.keywords)
    choices = [("num_warps", _WARPS, _DEFAULT_WARPS, 1)]
    if streams:
        choices.append(("num_stages", _STAGES, _DEFAULT_STAGES, 3))
    for option, values, default, rank in choices:
        if option in taken:
            continue  # the kernel computes with it
        given = keyword_value(call, option)
        now = whole_number(given) if given is not None else default
        if now is None or (given is None and not may_add) or now not in values:
            continue
        for value in values:
            distance = abs(values.index(value) - values.index(now))
            if distance:
                text = f"{option}={value}"
                change = module.add_keyword(call, text) if given is None else module.replace(given, str(value))
                yield Edit(f"{text} at {where}", rank + (distance > 1), (change,))


# Block sizes


def _sizes(now: int) -> list[int]:
    if now < 1 or now & (now - 1):
        return []
    return [new for new in (now * 2, now // 2) if _SMALLEST_BLOCK <= new <= _LARGEST_BLOCK and now >= _SMALLEST_BLOCK]


def _literal_block_edits(module: Module) -> Iterator[Edit]:
    """`kernel[grid](…, BLOCK=1024)` and `triton.Config({"BLOCK": 1024})`."""
    for number, (kernel, call) in enumerate(module.launches, 1):
        for word in call.keywords:
            now = whole_number(word.value)
            if word.arg is None or not _BLOCK_NAME.match(word.arg) or now is None:
                continue
            if _block_may_change(module, kernel, word.arg, [call], None):
                for new in _sizes(now):
                    change = module.replace(word.value, str(new))
                    yield Edit(f"{word.arg} = {new} at launch {number} of `{kernel.name}`", 1, (change,))
    for number, (owner, call) in enumerate(module.configs, 1):
        options = call.args[0] if call.args else keyword_value(call, "kwargs")
        if owner is None or not isinstance(options, ast.Dict):
            continue
        calls = [launch for kernel, launch in module.launches if kernel is owner]
        for key, value in zip(options.keys, options.values, strict=True):
            now = whole_number(value)
            if not (isinstance(key, ast.Constant) and isinstance(key.value, str)) or now is None:
                continue
            name = key.value
            if _BLOCK_NAME.match(name) and calls and _block_may_change(module, owner, name, calls, None):
                for new in _sizes(now):
                    yield Edit(f"{name} = {new} at config {number}", 1, (module.replace(value, str(new)),))


def _named_block_edits(module: Module) -> Iterator[Edit]:
    """`BLOCK = 1024`, assigned once and handed to kernels."""
    bound: dict[str, int] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            bound[node.id] = bound.get(node.id, 0) + 1
        elif isinstance(node, ast.arg) and not _in_kernel(module, node):
            bound[node.arg] = bound.get(node.arg, 0) + 1
        elif isinstance(node, ast.Global | ast.Nonlocal):
            bound.update(dict.fromkeys(node.names, 2))
    for statement in ast.walk(module.tree):
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1 or _in_kernel(module, statement):
            continue
        target, now = statement.targets[0], whole_number(statement.value)
        if not isinstance(target, ast.Name) or now is None:
            continue
        if not _BLOCK_NAME.match(target.id) or bound.get(target.id) != 1:
            continue
        if _named_block_may_change(module, target.id):
            for new in _sizes(now):
                yield Edit(f"{target.id} = {new}", 1, (module.replace(statement.value, str(new)),))


def _in_kernel(module: Module, node: ast.AST) -> bool:
    scope = module.scope_of.get(node)
    return any(scope is kernel.syntax for kernel in module.kernels.values())


def _named_block_may_change(module: Module, name: str) -> bool:
    handed: dict[tuple[str, str], list[ast.Call]] = {}
    allowed: set[int] = set()
    for kernel, call in module.launches:
        given = list(zip(kernel.parameters, call.args, strict=False))
        given += [(word.arg, word.value) for word in call.keywords if word.arg is not None]
        for parameter, value in given:
            if isinstance(value, ast.Name) and value.id == name:
                if any(isinstance(argument, ast.Starred) for argument in call.args):
                    return False
                allowed.add(id(value))
                handed.setdefault((kernel.name, parameter), []).append(call)
    allowed |= {id(node) for node in _rounded_up(module.tree, name)}
    for node in ast.walk(module.tree):
        if (
            isinstance(node, ast.Name)
            and node.id == name
            and isinstance(node.ctx, ast.Load)
            and id(node) not in allowed
        ):
            inside = [kernel for kernel in module.kernels.values() if node in kernel.nodes]
            if not inside or name not in inside[0].parameters:
                return False
    return bool(handed) and all(
        _block_may_change(module, module.kernels[kernel_name], parameter, calls, name)
        for (kernel_name, parameter), calls in handed.items()
    )


def _rounded_up(tree: ast.AST, name: str) -> Iterator[ast.expr]:
    """Every `BLOCK` in `cdiv(n, BLOCK)` and in `(n + BLOCK - 1) // BLOCK`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) == 2:
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function == "cdiv" and _is_size(node.args[1], name):
                yield node.args[1]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv) and _is_size(node.right, name):
            match node.left:
                case ast.BinOp(left=ast.BinOp(op=ast.Add(), right=size), op=ast.Sub(), right=ast.Constant(value=1)) if (
                    _is_size(size, name)
                ):
                    yield size
                    yield node.right


def _is_size(node: ast.expr, name: str) -> bool:
    """Whether an expression is the constant itself or `meta["BLOCK"]`."""
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and node.slice.value == name
    return isinstance(node, ast.Name) and node.id == name


def _block_may_change(
    module: Module, kernel: Kernel, parameter: str, launches: list[ast.Call], constant: str | None
) -> bool:
    """Whether a block size is only a block size: all elements are still covered, and the tail still masked.

    Args:
        module: the source.
        kernel: the kernel that gets the size.
        parameter: its parameter.
        launches: the launches that hand it over.
        constant: the host's name for it, where it has one.
    """
    if parameter not in kernel.constants or not kernel.calls_are_known():
        return False
    by_program, by_loop = _coverage(module, kernel, parameter)
    if by_program is None or not (by_program or by_loop):
        return False
    if not _tail_is_masked(module, kernel):
        return False
    if not by_program:
        return True
    return all(_grid_rounds_up(module, call, parameter, constant) for call in launches)


def _coverage(module: Module, kernel: Kernel, name: str) -> tuple[bool | None, bool]:
    """How a block size is used: multiplied by a program's number, as a loop's step; (None, …) for any other use."""
    programs = kernel.reached_from("program_id")
    counts = kernel.reached_from("cdiv", through_loads=False)
    for entry in kernel.memory:
        written = entry.call.args[1:2] + [word.value for word in entry.call.keywords if word.arg == "value"]
        if entry.write and any(kernel.depends(value, "cdiv", counts, through_loads=False) for value in written):
            return None, False  # how many blocks there are is part of the result
    counters = {
        node.target.id
        for node in kernel.nodes
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name) and _mentions(node.iter, name)
    }
    addresses = {entry.base for entry in kernel.memory if entry.base is not None}
    allowed: set[int] = set()
    by_program = by_loop = False
    for node in kernel.nodes:
        if isinstance(node, ast.Call):
            function = module.language_name(node.func)
            plain = isinstance(node.func, ast.Name) and node.func.id == "range"
            if function == "arange" and len(node.args) == 2 and whole_number(node.args[0]) == 0:
                allowed.add(id(node.args[1]))
            elif (plain or function == "range") and len(node.args) == 3:
                allowed.add(id(node.args[2]))
                by_loop = by_loop or _is_size(node.args[2], name)
            elif function == "cdiv" and len(node.args) == 2:
                allowed.add(id(node.args[1]))
            elif function in ("zeros", "full", "make_block_ptr", "make_tensor_descriptor"):
                shapes = [*node.args[:1]] if function in ("zeros", "full") else []
                shapes += [word.value for word in node.keywords if word.arg in ("shape", "block_shape")
                           and (word.arg == "block_shape" or function in ("zeros", "full"))]  # fmt: skip
                for shape in shapes:
                    if isinstance(shape, ast.Tuple | ast.List):
                        allowed |= {id(element) for element in shape.elts}
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            for size, other in ((node.left, node.right), (node.right, node.left)):
                if not _is_size(size, name) or not kernel.only_starts_blocks(node):
                    continue
                if kernel.depends(other, "program_id", programs) and kernel.is_program_number(other):
                    by_program = True
                    allowed.add(id(size))
                elif isinstance(other, ast.Name) and other.id in counters:
                    allowed.add(id(size))
        elif isinstance(node, ast.For) and _mentions(node.iter, name):
            by_loop = by_loop or any(id(size) in {id(part) for part in ast.walk(node.iter)}
                                     for size in _rounded_up(node.iter, name))  # fmt: skip
            for inner in ast.walk(node):
                # `pointers += BLOCK_K * stride`, once for each turn of a loop that counts blocks
                if (
                    isinstance(inner, ast.AugAssign)
                    and isinstance(inner.op, ast.Add)
                    and isinstance(inner.target, ast.Name)
                    and kernel.base(inner.target) in addresses
                ):
                    allowed.add(id(inner.value))
                    if isinstance(inner.value, ast.BinOp) and isinstance(inner.value.op, ast.Mult):
                        allowed |= {id(inner.value.left), id(inner.value.right)}
    uses = [node for node in kernel.nodes if isinstance(node, ast.Name) and node.id == name]
    if any(id(use) not in allowed for use in uses):
        return None, by_loop
    return by_program, by_loop


def _mentions(node: ast.AST, name: str) -> bool:
    return any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node))


def _tail_is_masked(module: Module, kernel: Kernel) -> bool:
    for entry in kernel.memory:
        if module.language_name(entry.call.func) is None:
            continue  # a tensor descriptor knows the tensor's end
        address = entry.call.args[0] if entry.call.args else None
        if address is None:
            return False
        names = {word.arg for word in entry.call.keywords}
        position = 2 if entry.write else 1
        masked = "mask" in names or "boundary_check" in names or len(entry.call.args) > position
        if not masked and kernel.depends(address, "arange", kernel.lanes):
            return False
        if not masked and _is_block_pointer(module, kernel, address):
            return False
    return True


def _is_block_pointer(module: Module, kernel: Kernel, address: ast.expr) -> bool:
    return isinstance(address, ast.Name) and any(
        isinstance(value, ast.Call) and module.language_name(value.func) in ("make_block_ptr", "advance")
        for value in kernel.values.get(address.id, [])
    )


def _grid_rounds_up(module: Module, call: ast.Call, parameter: str, constant: str | None) -> bool:
    """Whether a launch's grid is computed from the block size."""
    assert isinstance(call.func, ast.Subscript)
    pending: list[ast.expr] = [call.func.slice]
    kernel = next(kernel for kernel, launch in module.launches if launch is call)
    if kernel.tiles is not None:
        # A persistent kernel covers as many blocks as it is told, whatever its grid.
        count = kernel.arguments(call).get(kernel.tiles.count)
        pending = [] if count is None else [count]
    seen: set[str] = set()
    while pending:
        expression = pending.pop()
        if any(isinstance(size, ast.Subscript) for size in _rounded_up(expression, parameter)):
            return True
        if constant is not None and any(isinstance(size, ast.Name) for size in _rounded_up(expression, constant)):
            return True
        for node in ast.walk(expression):
            if isinstance(node, ast.Name) and node.id not in seen:
                seen.add(node.id)
                pending += _assigned_values(module, node.id, module.scope_of.get(call))
    return False


def _assigned_values(module: Module, name: str, scope: Scope | None) -> list[ast.expr]:
    found = [
        node.value
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assign)
        and module.scope_of.get(node) in (scope, module.tree)
        and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
    ]
    return found if len(found) == 1 else []


# Loops and loads


def _range_edits(module: Module) -> Iterator[Edit]:
    for kernel in module.kernels.values():
        if not kernel.streams:
            continue
        loops = [node for node in kernel.nodes if isinstance(node, ast.For) and isinstance(node.iter, ast.Call)]
        over_tiles = kernel.tiles.loop if kernel.tiles else None
        # The loop over tiles comes last, so that the others keep their numbers in descriptions.
        for number, loop in enumerate(sorted(loops, key=lambda node: (node is over_tiles, node.lineno)), 1):
            where = f"loop {number}" if loop is not over_tiles else "the loop over tiles"
            call = loop.iter
            assert isinstance(call, ast.Call)
            inside = [node for statement in loop.body for node in ast.walk(statement)]
            if any(isinstance(node, ast.For | ast.While) for node in inside):
                continue
            if not any(entry.call in inside and not entry.write for entry in kernel.memory):
                continue
            plain = isinstance(call.func, ast.Name) and call.func.id == "range" and not call.keywords
            if plain and module.language:
                changes = [module.replace(call.func, f"{min(module.language)}.range")]
            elif module.language_name(call.func) == "range":
                changes = []
            else:
                continue
            given = keyword_value(call, "num_stages")
            if given is not None and whole_number(given) is None:
                continue
            for stages in _STAGES if given is not None else _FIRST_STAGES:
                if stages == whole_number(given):
                    continue
                text = f"num_stages={stages}"
                added = module.add_keyword(call, text) if given is None else module.replace(given, str(stages))
                yield Edit(f"{text} at {where} of `{kernel.name}`", 4, (*changes, added))


def _hint_edits(module: Module) -> Iterator[Edit]:
    for kernel in module.kernels.values():
        loads = [entry.call for entry in kernel.memory if not entry.write]
        if not kernel.streams:
            continue
        for number, call in enumerate(loads, 1):
            if module.language_name(call.func) != "load" or len(call.args) > _LOAD_POSITIONS:
                continue
            if any(word.arg in (None, "volatile") for word in call.keywords):
                continue
            for option, values in _HINTS.items():
                given = keyword_value(call, option)
                now = given.value if isinstance(given, ast.Constant) else None
                if given is not None and not isinstance(now, str):
                    continue
                for value in values:
                    if value == now:
                        continue
                    text = f'"{value}"'
                    change = (
                        module.add_keyword(call, f"{option}={text}") if given is None else module.replace(given, text)
                    )
                    yield Edit(f"{option}={text} at load {number} of `{kernel.name}`", 5, (change,))
