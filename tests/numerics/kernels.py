"""Tasks, kernels with one planted fault each, and correct kernels that differ from the reference in every rounding."""

from __future__ import annotations

from dataclasses import dataclass

_ROWS = 'CASES = {"even": {"rows": 6, "cols": 256}, "odd": {"rows": 5, "cols": 77, "hidden": True}}\n'
_INPUTS = "def make_inputs(case):\n    return (torch.randn(case.rows, case.cols),)\n"
_HEAD = "import torch\nimport torch.nn.functional as F\n" + _ROWS
TASKS = {
    "softmax": _HEAD + _INPUTS + "def reference(x):\n    return torch.softmax(x, -1)\n",
    "layer_norm": _HEAD + _INPUTS + "def reference(x):\n    return F.layer_norm(x, x.shape[-1:])\n",
    "sum": _HEAD.replace('"cols": 256', '"cols": 4096') + _INPUTS + "def reference(x):\n    return x.sum(-1)\n",
    "mean": _HEAD + _INPUTS + "def reference(x):\n    return x.mean()\n",
    "maximum": _HEAD + _INPUTS + "def reference(x):\n    return x.amax(-1)\n",
    "large_sum": _HEAD.replace('"cols": 256', '"cols": 4096')
    + "def make_inputs(case):\n    return (torch.rand(case.rows, case.cols) * 1e4 + 1e6,)\n"
    + "SPECIAL_VALUES = False\ndef reference(x):\n    return x.double().sum(-1).float()\n",
    "product": _HEAD
    + "def make_inputs(case):\n    return torch.randn(32, case.cols), torch.randn(case.cols, 32)\n"
    + 'LAYOUTS = ("contiguous",)\nSPECIAL_VALUES = False\ndef reference(a, b):\n    return a @ b\n',
}
TASKS["product_in_tf32"] = TASKS["product"] + (
    # TF32 has 2^13 epsilons of fp32, bf16 2^16; the sum of 256 products is off by about 1.4 roundings of theirs.
    "ALLOW_TF32 = True\n"
    'TOLERANCES = {"float32": {"max_factor": 2000, "rms_factor": 2000, "ulps": 262144, "rms_ulps": 24000}}\n'
)
_CPP = """
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>
float tf32(float v) { uint32_t b; std::memcpy(&b, &v, 4); b = (b + 0x1000u) & 0xffffe000u; std::memcpy(&v, &b, 4);
  return v; }
float bf16(float v) { if (v != v) return v; uint32_t b; std::memcpy(&b, &v, 4); b = (b + 0x8000u) & 0xffff0000u;
  std::memcpy(&v, &b, 4); return v; }
"""
_EACH_ROW = (
    _CPP
    + """
void one(const float* in, float* to, int64_t n, int64_t cols);
void kernel(TensorView x, TensorView out) {
  const int64_t cols = x.size(1), wide = out.numel() / x.size(0);
  for (int64_t row = 0; row < x.size(0); ++row)
    one(static_cast<const float*>(x.data_ptr()) + row * cols, static_cast<float*>(out.data_ptr()) + row * wide, row,
        cols);
}
"""
)
_PRODUCT = (
    _CPP
    + """
void kernel(TensorView a, TensorView b, TensorView out) {
  const int64_t m = a.size(0), k = a.size(1), n = b.size(1);
  const float *left = static_cast<const float*>(a.data_ptr()), *right = static_cast<const float*>(b.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  for (int64_t i = 0; i < m; ++i) for (int64_t j = 0; j < n; ++j) {
    float total = 0;
    for (int64_t p = 0; p < DEPTH; ++p) total += ROUND(left[i * k + p]) * ROUND(right[p * n + j]);
    to[i * n + j] = total;
  }
}
"""
)


def _product(depth: str, rounding: str) -> str:
    return _PRODUCT.replace("DEPTH", depth).replace("ROUND", rounding)


def _rows(body: str) -> str:
    return _EACH_ROW + "void one(const float* in, float* to, int64_t, int64_t n) {\n" + body + "\n}\n"


_SOFTMAX = """  float top = -INFINITY, total = 0;
  for (int64_t i = 0; i < n; ++i) if (in[i] > top) top = in[i];
  for (int64_t i = 0; i < n; ++i) total += std::exp(in[i] - top);
  for (int64_t i = 0; i < n; ++i) to[i] = std::exp(in[i] - top) / total;"""
_ONLINE_SOFTMAX = """  float top = -INFINITY, total = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (in[i] != in[i]) { total = in[i]; continue; }
    if (in[i] > top) { total = total * std::exp(top - in[i]) + std::exp(in[i] - in[i]); top = in[i]; }
    else if (top != -INFINITY) total += std::exp(in[i] - top);
  }
  for (int64_t i = 0; i < n; ++i) to[i] = std::exp(in[i] - top) / total;"""
_WELFORD = """  float mean = 0, square = 0;
  for (int64_t i = 0; i < n; ++i) { const float d = in[i] - mean; mean += d / (i + 1); square += d * (in[i] - mean); }
  for (int64_t i = 0; i < n; ++i) to[i] = (in[i] - mean) / std::sqrt(square / n + 1e-5f);"""
_TWO_PASSES = """  float mean = 0, square = 0;
  for (int64_t i = n; i-- > 0;) mean += in[i];
  mean /= n;
  for (int64_t i = 0; i < n; ++i) square += (in[i] - mean) * (in[i] - mean);
  for (int64_t i = 0; i < n; ++i) to[i] = (in[i] - mean) / std::sqrt(square / n + 1e-5f);"""
_PAIRWISE = """  float part[64] = {0};
  for (int64_t i = 0; i < n; ++i) part[i % 64] += in[i];
  for (int64_t step = 32; step; step /= 2) for (int64_t i = 0; i < step; ++i) part[i] += part[i + step];
  *to = part[0];"""
_SERIAL = "  float total = 0;\n  for (int64_t i = 0; i < n; ++i) total += in[i];\n  *to = total;"
_KAHAN = """  float total = 0, lost = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float y = in[i] - lost; const float t = total + y;
    if (std::isfinite(t)) lost = (t - total) - y;
    total = t;
  }
  *to = total;"""
_MEAN = (
    _CPP
    + """
void kernel(TensorView x, TensorView out) {
  const float* in = static_cast<const float*>(x.data_ptr());
  float total = 0;
  for (int64_t i = 0; i < x.numel(); ++i) total += in[i];
  *static_cast<float*>(out.data_ptr()) = total / x.numel();
}
"""
)
_RACE = (
    _CPP
    + """
void kernel(TensorView x, TensorView out) {
  const int64_t rows = x.size(0), cols = x.size(1);
  const float* in = static_cast<const float*>(x.data_ptr());
  volatile float* to = static_cast<float*>(out.data_ptr());
  for (int64_t row = 0; row < rows; ++row) to[row] = 0;
  auto add = [&](int64_t from, int64_t end) {
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t i = from; i < end; ++i) { const float old = to[row]; if (i % 64 == 0) std::this_thread::yield();
        to[row] = old + in[row * cols + i]; }
  };
  std::thread other(add, 0, cols / 2);
  add(cols / 2, cols);
  other.join();
}
"""
)
_TRITON = """import torch
import triton
import triton.language as tl

@triton.jit
def rows(x_ptr, y_ptr, stride, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    index = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * stride + index, mask=index < cols, other=OTHER)
    top = tl.max(x, 0)
    e = tl.exp(x - top)
    total = tl.sum(e, 0)
    tl.store(y_ptr + row * cols + index, e / total, mask=STORED)

def kernel(x):
    x = x.contiguous()
    y = torch.empty_like(x)
    rows[(x.shape[0],)](x, y, x.stride(0), x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
    return y
"""


def _triton(other: str = '-float("inf")', stored: str = "index < cols", more: tuple[str, str] = ("", "")) -> str:
    text = _TRITON.replace("OTHER", other).replace("STORED", stored)
    assert more[0] in text
    return text.replace(*more) if more[0] else text


@dataclass(frozen=True)
class Kernel:
    """A kernel, its task and its language."""

    name: str
    task: str
    source: str
    language: str = "cpp"


FAULTY = (
    Kernel("sum in bf16", "sum", _rows(_SERIAL.replace("total += in[i]", "total = bf16(total + in[i])"))),
    Kernel("sum of all but the tail", "sum", _rows(_SERIAL.replace("i < n", "i < n / 16 * 16"))),
    Kernel("sum in an order that loses small terms", "large_sum",
           _rows(_SERIAL.replace("float total = 0", "float total = 1e14f")
                 .replace("*to = total", "*to = total - 1e14f"))),
    Kernel("no epsilon", "layer_norm", _rows(_TWO_PASSES.replace(" + 1e-5f", ""))),
    Kernel("variance of n - 1", "layer_norm", _rows(_TWO_PASSES.replace("square / n", "square / (n - 1)"))),
    Kernel("variance as a difference of squares that cancels", "layer_norm",
           _rows(_TWO_PASSES.replace("square += (in[i] - mean) * (in[i] - mean)", "square += tf32(in[i] * in[i])")
                 .replace("square / n", "(square / n - mean * mean)"))),
    Kernel("softmax rounded to bf16 inside", "softmax",
           _rows(_SOFTMAX.replace("total += ", "total += bf16(")
                 .replace("- top);\n  for (int64_t i = 0; i < n; ++i) to",
                          "- top));\n  for (int64_t i = 0; i < n; ++i) to"))),
    Kernel("maximum that skips NaN", "maximum",
           _rows("  float top = -INFINITY;\n"
                 "  for (int64_t i = 0; i < n; ++i) if (in[i] > top) top = in[i];\n  *to = top;")),
    Kernel("product in bf16", "product", _product("k", "bf16")),
    Kernel("product in tf32 where fp32 is asked for", "product", _product("k", "tf32")),
    Kernel("product in bf16 where tf32 is allowed", "product_in_tf32", _product("k", "bf16")),
    Kernel("product without its last term", "product", _product("k - 1", "")),
    Kernel("two threads add to one sum", "sum", _RACE),
    Kernel("mean rounded to fp16", "mean",
           _MEAN.replace("= total / x.numel()", "= float(_Float16(total / x.numel()))")),
    Kernel("tail loaded as zero", "softmax", _triton(other="0.0"), "triton"),
    Kernel("tail not stored", "softmax", _triton(stored="index < cols // 16 * 16"), "triton"),
    Kernel("fp16 inside", "softmax", _triton(more=("total = tl.sum(e, 0)",
                                                  "total = tl.sum(e.to(tl.float16), 0).to(tl.float32)")), "triton"),
)  # fmt: skip
HONEST = (
    Kernel("sum one by one", "sum", _rows(_SERIAL)),
    Kernel("sum backwards", "sum", _rows(_SERIAL.replace("int64_t i = 0; i < n; ++i", "int64_t i = n; i-- > 0;"))),
    Kernel("sum in pairs", "sum", _rows(_PAIRWISE)),
    Kernel("sum by Kahan", "sum", _rows(_KAHAN)),
    Kernel("sum of large numbers by Kahan", "large_sum", _rows(_KAHAN)),
    Kernel("mean one by one, of numbers that cancel", "mean", _MEAN),
    Kernel("softmax in three passes", "softmax", _rows(_SOFTMAX)),
    Kernel("online softmax", "softmax", _rows(_ONLINE_SOFTMAX)),
    Kernel("layer norm in two passes", "layer_norm", _rows(_TWO_PASSES)),
    Kernel("layer norm by Welford", "layer_norm", _rows(_WELFORD)),
    Kernel("product one by one", "product", _product("k", "")),
    Kernel("product in tf32 where it is allowed", "product_in_tf32", _product("k", "tf32")),
    Kernel("Triton softmax", "softmax", _triton(), "triton"),
    Kernel("Triton softmax with exp2", "softmax",
           _triton(more=("tl.exp(x - top)", "tl.exp2((x - top) * 1.4426950408889634)")), "triton"),
    Kernel("Triton softmax with a mask made by `and`", "softmax",
           _triton(stored="(index < cols) and (index >= 0)"), "triton"),
)  # fmt: skip
