"""For each rule a kernel that it is about and an honest twin; pointers end in `_ptr`, constants have defaults.

`compiles` says what Triton does with the first one; a test asks Triton.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent

HEAD = """\
import torch
import triton
import triton.language as tl

"""


@dataclass(frozen=True)
class Sample:
    """One rule's pair."""

    code: str
    severity: str
    bad: str
    good: str
    compiles: bool | None = None
    """Whether Triton compiles the bad one; None where it is not about compiling the kernel."""

    @property
    def name(self) -> str:
        """For test ids."""
        return f"{self.code}-{self.severity}"


def kernel(body: str, parameters: str = "x_ptr, y_ptr, n, stride") -> str:
    """A kernel with the body, launched by the file; it has a BLOCK where the body speaks of one."""
    if "BLOCK" in body and "BLOCK" not in parameters:
        parameters += ", BLOCK: tl.constexpr = 128"
    lines = dedent(body).strip().splitlines()
    inside = "\n".join(f"    {line}" if line else "" for line in lines)
    launch = "def run(*arguments):\n    kernel[(1,)](*arguments)"
    return f"{HEAD}\n@triton.jit\ndef kernel({parameters}):\n{inside}\n\n\n{launch}\n"


def tuned(decorators: str, parameters: str = "x_ptr, y_ptr, n, BLOCK: tl.constexpr") -> str:
    """A tuned kernel that copies."""
    body = "offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)\n"
    body += "    x = tl.load(x_ptr + offsets, mask=offsets < n)\n    tl.store(y_ptr + offsets, x, mask=offsets < n)"
    return f"{HEAD}\n{dedent(decorators).strip()}\ndef kernel({parameters}):\n    {body}\n"


DOT = """
r = tl.arange(0, 16)
at = r[:, None] * 16 + r[None, :]
a = tl.load(x_ptr + at).to({left})
b = tl.load(y_ptr + at).to({right})
{acc}
tl.store(x_ptr + at, c.to(tl.float32))
"""


def dot(left: str, right: str, acc: str) -> str:
    """A kernel around one tl.dot."""
    return kernel(DOT.format(left=left, right=right, acc=acc))


SAMPLES = [
    Sample(
        "KE101",
        "error",
        kernel("r = tl.arange(0, 100)\ntl.store(x_ptr + r, r.to(tl.float32), mask=r < n)"),
        kernel("r = tl.arange(0, 128)\ntl.store(x_ptr + r, r.to(tl.float32), mask=r < 100)"),
        False,
    ),
    Sample(
        "KE101",
        "warning",
        kernel(
            "r = tl.arange(0, BLOCK)\ntl.store(x_ptr + r, r.to(tl.float32), mask=r < n)",
            "x_ptr, n, BLOCK: tl.constexpr = 96",
        ),
        kernel(
            "r = tl.arange(0, BLOCK)\ntl.store(x_ptr + r, r.to(tl.float32), mask=r < n)",
            "x_ptr, n, BLOCK: tl.constexpr = 64",
        ),
        False,
    ),
    Sample(
        "KE102",
        "error",
        kernel("z = tl.zeros((12, 16), dtype=tl.float32)\ntl.store(x_ptr, tl.sum(z))"),
        kernel("z = tl.zeros((16, 16), dtype=tl.float32)\ntl.store(x_ptr, tl.sum(z))"),
        False,
    ),
    Sample(
        "KE102",
        "error",
        kernel("z = tl.zeros([2048, 1024], dtype=tl.float32)\ntl.store(x_ptr, tl.sum(z))"),
        kernel("z = tl.zeros([64, 64], dtype=tl.float32)\ntl.store(x_ptr, tl.sum(z))"),
        False,
    ),
    Sample(
        "KE103",
        "error",
        kernel("half = BLOCK // 2\nr = tl.arange(0, half)\ntl.store(x_ptr + r, r.to(tl.float32), mask=r < n)"),
        kernel(
            "half: tl.constexpr = BLOCK // 2\nr = tl.arange(0, half)\ntl.store(x_ptr + r, r.to(tl.float32), mask=r < n)"
        ),
        False,
    ),
    Sample(
        "KE104",
        "error",
        kernel("r = tl.arange(0, size)\ntl.store(x_ptr + r, r.to(tl.float32), mask=r < n)", "x_ptr, n, size"),
        kernel(
            "r = tl.arange(0, size)\ntl.store(x_ptr + r, r.to(tl.float32), mask=r < n)",
            "x_ptr, n, size: tl.constexpr = 64",
        ),
        False,
    ),
    Sample(
        "KE105",
        "hint",
        kernel("tl.store(x_ptr, 1.0)", "x_ptr, EXTRA: tl.constexpr = 4"),
        kernel("tl.store(x_ptr + EXTRA, 1.0)", "x_ptr, EXTRA: tl.constexpr = 4"),
        True,
    ),
    Sample(
        "KE106",
        "error",
        kernel("BLOCK: tl.constexpr = 64\nr = tl.arange(0, BLOCK)\ntl.store(x_ptr + r, r.to(tl.float32), mask=r < n)"),
        kernel(
            "HALF: tl.constexpr = BLOCK // 2\nr = tl.arange(0, HALF)\ntl.store(x_ptr + r, r.to(tl.float32), mask=r < n)"
        ),
        False,
    ),
    Sample(
        "KE106",
        "information",
        kernel("BLOCK = BLOCK // 2\ntl.store(x_ptr + BLOCK, 1.0)"),
        kernel("half = BLOCK // 2\ntl.store(x_ptr + half, 1.0)"),
        True,
    ),
    Sample(
        "KE201",
        "hint",
        kernel(
            "r = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)\n"
            "tl.store(y_ptr + r, tl.load(x_ptr + r, mask=r < n), mask=None)"
        ),
        kernel(
            "r = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)\n"
            "tl.store(y_ptr + r, tl.load(x_ptr + r, mask=r < n), mask=r < n)"
        ),
        True,
    ),
    Sample(
        "KE202",
        "warning",
        kernel(
            "r = tl.arange(0, BLOCK)\nx = tl.load(x_ptr + r, mask=r < n)\n"
            "tl.store(y_ptr, tl.max(x.to(tl.float32), axis=0))"
        ),
        kernel(
            'r = tl.arange(0, BLOCK)\nx = tl.load(x_ptr + r, mask=r < n, other=float("-inf"))\n'
            "tl.store(y_ptr, tl.max(x.to(tl.float32), axis=0))"
        ),
        True,
    ),
    Sample(
        "KE202",
        "information",
        kernel(
            "r = tl.arange(0, BLOCK)\nx = tl.load(x_ptr + r, mask=r < n)\ntl.store(y_ptr, tl.sum(tl.exp(x), axis=0))"
        ),
        kernel(
            "r = tl.arange(0, BLOCK)\nx = tl.load(x_ptr + r, mask=r < n)\n"
            "tl.store(y_ptr, tl.sum(tl.where(r < n, tl.exp(x), 0.0), axis=0))"
        ),
        True,
    ),
    Sample(
        "KE203",
        "hint",
        kernel(
            "r = tl.arange(0, BLOCK)\nx = tl.load(x_ptr + r, mask=r < n, other=0.0)\ntl.store(y_ptr, tl.min(x, axis=0))"
        ),
        kernel(
            'r = tl.arange(0, BLOCK)\nx = tl.load(x_ptr + r, mask=r < n, other=float("inf"))\n'
            "tl.store(y_ptr, tl.min(x, axis=0))"
        ),
        True,
    ),
    Sample(
        "KE204",
        "hint",
        kernel("pid = tl.program_id(0)\nr = tl.arange(0, BLOCK)\ntl.store(x_ptr + pid * stride + r, 1.0, mask=r < n)"),
        kernel(
            "pid = tl.program_id(0).to(tl.int64)\nr = tl.arange(0, BLOCK)\n"
            "tl.store(x_ptr + pid * stride + r, 1.0, mask=r < n)"
        ),
        True,
    ),
    Sample(
        "KE205",
        "warning",
        kernel("pid = tl.program_id(0)\nat = (pid * stride).to(tl.int64)\ntl.store(x_ptr + at, 1.0)"),
        kernel("pid = tl.program_id(0)\nat = pid.to(tl.int64) * stride\ntl.store(x_ptr + at, 1.0)"),
        True,
    ),
    Sample(
        "KE206",
        "error",
        kernel("for i in range(tl.program_id(0) / 2):\n    tl.store(x_ptr + i, 1.0)"),
        kernel("for i in range(tl.program_id(0) // 2):\n    tl.store(x_ptr + i, 1.0)"),
        False,
    ),
    Sample(
        "KE207",
        "error",
        kernel("p = tl.make_block_ptr(x_ptr, (n, n), (stride, 1), (0, 0), (16, 16), (1, 0))\ntl.store(p, tl.load(p))"),
        kernel("p = tl.make_tensor_descriptor(x_ptr, [n, n], [stride, 1], [16, 16])\np.store([0, 0], p.load([0, 0]))"),
        False,
    ),
    Sample(
        "KE301",
        "error",
        dot("tl.float16", "tl.bfloat16", "c = tl.dot(a, b)"),
        dot("tl.float16", "tl.float16", "c = tl.dot(a, b)"),
        False,
    ),
    Sample(
        "KE301",
        "error",
        dot("tl.int32", "tl.int32", "c = tl.dot(a, b)"),
        dot("tl.bfloat16", "tl.bfloat16", "c = tl.dot(a, b)"),
        False,
    ),
    Sample(
        "KE302",
        "error",
        dot("tl.bfloat16", "tl.bfloat16", "c = tl.dot(a, b, out_dtype=tl.bfloat16)"),
        dot("tl.bfloat16", "tl.bfloat16", "c = tl.dot(a, b).to(tl.bfloat16)"),
        False,
    ),
    Sample(
        "KE302",
        "warning",
        dot("tl.float16", "tl.float16", "c = tl.zeros((16, 16), dtype=tl.float16)\nc = tl.dot(a, b, c)"),
        dot("tl.float16", "tl.float16", "c = tl.zeros((16, 16), dtype=tl.float32)\nc = tl.dot(a, b, c)"),
        True,
    ),
    Sample(
        "KE303",
        "information",
        dot("tl.float32", "tl.float32", "c = tl.dot(a, b)"),
        dot("tl.float32", "tl.float32", 'c = tl.dot(a, b, input_precision="ieee")'),
        True,
    ),
    Sample(
        "KE304",
        "information",
        dot("tl.float32", "tl.float32", "c = tl.dot(a, b, allow_tf32=False)"),
        dot("tl.float32", "tl.float32", 'c = tl.dot(a, b, input_precision="ieee")'),
        True,
    ),
    Sample(
        "KE401",
        "error",
        kernel(
            "r = tl.arange(0, 128)\nx = tl.load(x_ptr + r, mask=r < n)\n"
            "if x > 0:\n    tl.store(y_ptr + r, x, mask=r < n)"
        ),
        kernel(
            "r = tl.arange(0, 128)\nx = tl.load(x_ptr + r, mask=r < n)\ntl.store(y_ptr + r, x, mask=(r < n) & (x > 0))"
        ),
        False,
    ),
    Sample(
        "KE402",
        "hint",
        kernel("r = tl.arange(0, BLOCK)\ntl.store(y_ptr + r, 1.0, mask=r < n and r > 1)"),
        kernel("r = tl.arange(0, BLOCK)\ntl.store(y_ptr + r, 1.0, mask=(r < n) & (r > 1))"),
        True,
    ),
    Sample(
        "KE403",
        "error",
        kernel("for i in range(n):\n    if tl.load(x_ptr + i) > 0:\n        break\n    tl.store(y_ptr + i, 1.0)"),
        kernel("i = 0\nwhile (i < n) & (tl.load(x_ptr + i) <= 0):\n    tl.store(y_ptr + i, 1.0)\n    i += 1"),
        False,
    ),
    Sample(
        "KE404",
        "error",
        kernel("for i in range(n):\n    if tl.load(x_ptr + i) > 0:\n        return\n    tl.store(y_ptr + i, 1.0)"),
        kernel("if tl.load(x_ptr) > 0:\n    return\nfor i in range(n):\n    tl.store(y_ptr + i, 1.0)"),
        False,
    ),
    Sample(
        "KE405",
        "error",
        kernel("for i in (1, 2, 3):\n    tl.store(x_ptr + i, 1.0)"),
        kernel("for i in tl.static_range(1, 4):\n    tl.store(x_ptr + i, 1.0)"),
        False,
    ),
    Sample(
        "KE406",
        "error",
        kernel("m = tl.load(y_ptr).to(tl.int32)\nfor i in tl.static_range(m):\n    tl.store(x_ptr + i, 1.0)"),
        kernel("m = tl.load(y_ptr).to(tl.int32)\nfor i in range(m):\n    tl.store(x_ptr + i, 1.0)"),
        False,
    ),
    Sample(
        "KE407",
        "error",
        kernel("try:\n    tl.store(x_ptr, 1.0)\nexcept ValueError:\n    pass"),
        kernel("tl.store(x_ptr, 1.0)"),
        False,
    ),
    Sample(
        "KE407",
        "error",
        kernel("a = b = tl.load(x_ptr)\ntl.store(y_ptr, a + b)"),
        kernel("a = tl.load(x_ptr)\nb = a\ntl.store(y_ptr, a + b)"),
        False,
    ),
    Sample(
        "KE408",
        "error",
        kernel("r = tl.arange(0, 128)\nx = tl.load(x_ptr + r)\ntl.store(y_ptr, x[0])"),
        kernel("r = tl.arange(0, 128)\nx = tl.load(x_ptr + r)\ntl.store(y_ptr, tl.sum(tl.where(r == 0, x, 0.0)))"),
        False,
    ),
    Sample(
        "KE408",
        "error",
        kernel("x = tl.zeros((128,), tl.float32)\nx[0] = 1.0\ntl.store(y_ptr, tl.sum(x))"),
        kernel("r = tl.arange(0, 128)\nx = tl.where(r == 0, 1.0, 0.0)\ntl.store(y_ptr, tl.sum(x))"),
        False,
    ),
    Sample(
        "KE409",
        "error",
        kernel("r = tl.arange(0, 128)\nx = tl.load(x_ptr + r)\ntl.store(y_ptr, max(x))"),
        kernel("r = tl.arange(0, 128)\nx = tl.load(x_ptr + r)\ntl.store(y_ptr, tl.max(x, axis=0))"),
        False,
    ),
    Sample(
        "KE410",
        "error",
        kernel("tl.store(x_ptr + tl.program_id(3), 1.0)"),
        kernel("tl.store(x_ptr + tl.program_id(2), 1.0)"),
        False,
    ),
    Sample(
        "KE501",
        "error",
        kernel("r = tl.aranges(0, 128)\ntl.store(x_ptr + r, 1.0)"),
        kernel("r = tl.arange(0, 128)\ntl.store(x_ptr + r, 1.0)"),
        False,
    ),
    Sample(
        "KE502",
        "error",
        "EPS = 1e-5\n" + kernel("tl.store(x_ptr, tl.load(y_ptr) + EPS)"),
        kernel("tl.store(x_ptr, tl.load(y_ptr) + EPS)").replace(HEAD, HEAD + "EPS = tl.constexpr(1e-5)\n"),
        False,
    ),
    Sample(
        "KE503",
        "error",
        kernel("tl.store(x_ptr, torch.exp(tl.load(y_ptr)))"),
        kernel("tl.store(x_ptr, tl.exp(tl.load(y_ptr)))"),
        False,
    ),
    Sample(
        "KE601",
        "error",
        tuned('@triton.autotune(configs=[triton.Config({"BLOCK": 64})])\n@triton.jit'),
        tuned('@triton.autotune(configs=[triton.Config({"BLOCK": 64})], key=["n"])\n@triton.jit'),
        False,
    ),
    Sample(
        "KE601",
        "error",
        tuned('@triton.autotune(configs=[triton.Config({"BLOCK": 64})], key=["m"])\n@triton.jit'),
        tuned('@triton.autotune(configs=[triton.Config({"BLOCK": 64})], key=["n"])\n@triton.jit'),
        False,
    ),
    Sample(
        "KE601",
        "information",
        tuned(
            '@triton.autotune(configs=[triton.Config({"BLOCK": 64}), triton.Config({"BLOCK": 32})], key=[])\n'
            "@triton.jit"
        ),
        tuned(
            '@triton.autotune(configs=[triton.Config({"BLOCK": 64}), triton.Config({"BLOCK": 32})], key=["n"])\n'
            "@triton.jit"
        ),
    ),
    Sample(
        "KE602",
        "warning",
        tuned('@triton.autotune(configs=[triton.Config({"BLOCK": 64}, num_warps=6)], key=["n"])\n@triton.jit'),
        tuned('@triton.autotune(configs=[triton.Config({"BLOCK": 64}, num_warps=8)], key=["n"])\n@triton.jit'),
    ),
    Sample(
        "KE602",
        "warning",
        tuned('@triton.autotune(configs=[triton.Config({"BLOCK": 64, "TILE": 2})], key=["n"])\n@triton.jit'),
        tuned('@triton.autotune(configs=[triton.Config({"BLOCK": 64}, num_stages=2)], key=["n"])\n@triton.jit'),
    ),
    Sample(
        "KE603",
        "error",
        tuned('@triton.jit\n@triton.autotune(configs=[triton.Config({"BLOCK": 64})], key=["n"])'),
        tuned('@triton.autotune(configs=[triton.Config({"BLOCK": 64})], key=["n"])\n@triton.jit'),
        False,
    ),
]
