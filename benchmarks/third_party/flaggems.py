"""Kernels of FlagGems (`pip install --no-deps flag-gems sqlalchemy pyyaml`, written with 5.0.2)."""

from __future__ import annotations

from dataclasses import replace

from third_party.kernel import HALF, Kernel

PREAMBLE = """
import importlib
import importlib.util
import os
import sys
import tempfile
import types

os.environ.setdefault("GEMS_VENDOR", "nvidia")
os.environ["FLAGGEMS_CACHE_DIR"] = tempfile.gettempdir()
# The packages' own __init__ import all 400 operators, which takes longer than judging one.
for name in ("flag_gems", "flag_gems.ops", "flag_gems.fused"):
    spec = importlib.util.find_spec("flag_gems") if name == "flag_gems" else None
    folder = spec.submodule_search_locations[0] if spec else os.path.join(root, name.split(".")[1])
    root = folder if spec else root
    package = types.ModuleType(name)
    package.__path__ = [folder]
    sys.modules[name] = package
gems = sys.modules["flag_gems"]
gems.device, gems.vendor_name = "cuda", "nvidia"
gems.runtime = importlib.import_module("flag_gems.runtime")
if os.environ.get("TRITON_INTERPRET"):
    # The launch cache and the tuner look into compiled kernels, of which the interpreter has none.
    from triton.runtime import autotuner
    entries = importlib.import_module("flag_gems.utils.libentry")
    entries.libentry = sys.modules["flag_gems.utils"].libentry = lambda: lambda function: function
    def first_only(configs, key, **ignored):
        return autotuner.autotune(configs=configs, key=key)
    entries.libtuner = sys.modules["flag_gems.utils"].libtuner = first_only
"""
_X = {"x": "torch.randn(case.rows, case.cols)"}
_POSITIVE = {"x": "torch.rand(case.rows, case.cols) + 0.01"}
_XY = {**_X, "y": "torch.randn(case.rows, case.cols)"}
_XYZ = {**_XY, "z": "torch.rand(case.rows, case.cols) + 0.5"}
_NORM = {**_X, "w": "torch.randn(case.cols)", "b": "torch.randn(case.cols)"}
_MATRICES = {"a": "torch.randn(case.m, case.k)", "b": "torch.randn(case.k, case.n)"}
_GPU_MATRICES = ({"m": 1024, "k": 512, "n": 768}, {"m": 127, "k": 65, "n": 33})
_CPU_MATRICES = ({"m": 20, "k": 16, "n": 24}, {"m": 7, "k": 5, "n": 3})
_SUMS = ({"rows": 512, "cols": 2048}, {"rows": 123, "cols": 1000})
_NO_NAN = "SPECIAL_VALUES = ('zero', 'negative_zero', 'subnormal', 'infinity')"
_IGNORES_NAN = "the kernel's maximum leaves NaN out"
_FINITE = "SPECIAL_VALUES = ('zero', 'negative_zero', 'subnormal')"
_TF32 = """ALLOW_TF32 = True
TOLERANCES = {"float32": {"max_factor": 2000, "rms_factor": 2000, "ulps": 262144, "rms_ulps": 24000}}"""


def _gems(name: str, call: str, reference: str, module: str = "", **more: object) -> Kernel:
    function = call.split("(")[0]
    return Kernel(
        f"flaggems/{name}",
        f"from flag_gems.{module or 'ops.' + function} import {function}",
        call,
        reference,
        **more,  # type: ignore[arg-type]
    )


def _unary(name: str, reference: str = "", **more: object) -> Kernel:
    return _gems(name, f"{name}(x)", reference or f"torch.{name}(x)", **more)


_ELEMENTWISE = (
    _unary("abs"), _unary("cos"), _unary("exp"), _unary("exp2"), _unary("erf"), _unary("log", inputs=_POSITIVE),
    _unary("neg"), _unary("reciprocal"), _unary("relu"), _unary("rsqrt", inputs=_POSITIVE), _unary("sigmoid"),
    _unary("silu", "F.silu(x)"), _unary("sin"), _unary("sqrt", inputs=_POSITIVE), _unary("tanh"),
    _unary("isnan"), _unary("isinf"), _unary("log_sigmoid", "F.logsigmoid(x)"), _unary("softplus", "F.softplus(x)"),
    _gems("gelu", "gelu(x)", "F.gelu(x)"),
    _gems("gelu_tanh", "gelu(x, approximate='tanh')", "F.gelu(x, approximate='tanh')"),
    _gems("elu", "elu(x)", "F.elu(x)"),
    _gems("celu", "celu(x, 0.7)", "F.celu(x, 0.7)"),
    _gems("clamp", "clamp(x, -0.5, 0.7)", "x.clamp(-0.5, 0.7)"),
    _gems("threshold", "threshold(x, 0.1, -1.0)", "F.threshold(x, 0.1, -1.0)"),
    _gems("nan_to_num", "nan_to_num(x)", "torch.nan_to_num(x)"),
    _gems("add", "add(x, y, alpha=2)", "torch.add(x, y, alpha=2)", inputs=_XY),
    _gems("sub", "sub(x, y)", "x - y", inputs=_XY),
    _gems("mul", "mul(x, y)", "x * y", inputs=_XY),
    _gems("maximum", "maximum(x, y)", "torch.maximum(x, y)", inputs=_XY),
    _gems("minimum", "minimum(x, y)", "torch.minimum(x, y)", inputs=_XY),
    _gems("addcmul", "addcmul(x, y, z, value=0.5)", "torch.addcmul(x, y, z, value=0.5)", inputs=_XYZ),
    _gems("addcdiv", "addcdiv(x, y, z, value=0.5)", "torch.addcdiv(x, y, z, value=0.5)", inputs=_XYZ),
    _gems("lerp", "lerp_tensor(x, y, z)", "torch.lerp(x, y, z)", "ops.lerp", inputs=_XYZ),
    _gems("where", "where_self(x > y, x, y)", "torch.where(x > y, x, y)", "ops.where", inputs=_XY),
    _gems("gt", "gt(x, y)", "x > y", inputs=_XY),
    _gems("masked_fill", "masked_fill(x, x > y, 2.0)", "x.masked_fill(x > y, 2.0)", inputs=_XY),
    _gems("glu", "glu(x)", "F.glu(x)", inputs={"x": "torch.randn(case.rows, 2 * case.cols)"}),
    _gems("silu_and_mul", "silu_and_mul(x, y)", "F.silu(x) * y", "fused.silu_and_mul", inputs=_XY),
    _gems("gelu_and_mul", "gelu_and_mul(x, y)", "F.gelu(x) * y", "fused.gelu_and_mul", inputs=_XY),
)  # fmt: skip
_ROWWISE = (
    _gems("softmax", "softmax(x, -1)", "torch.softmax(x, -1)"),
    _gems("softmax_columns", "softmax(x, 0)", "torch.softmax(x, 0)", gpu=_SUMS),
    _gems("log_softmax", "log_softmax(x, -1)", "torch.log_softmax(x, -1)", options=_NO_NAN,
          why="the kernel takes NaN for -inf: its row comes out finite"),
    _gems("layer_norm", "layer_norm(x, w.shape, w, b)[0]", "F.layer_norm(x, w.shape, w, b)", "ops.layernorm",
          inputs=_NORM),
    _gems("rms_norm", "rms_norm(x, w.shape, w, 1e-5)", "F.rms_norm(x, w.shape, w, 1e-5)",
          inputs={**_X, "w": "torch.randn(case.cols)"}),
    _gems("skip_layer_norm", "skip_layer_norm(x, y, w.shape, w, b)", "F.layer_norm(x + y, w.shape, w, b)",
          "fused.skip_layernorm", inputs={**_XY, "w": "torch.randn(case.cols)", "b": "torch.randn(case.cols)"}),
    _gems("group_norm", "group_norm(x, w, b, x.shape[0], 32, x.shape[2], 4)[0]", "F.group_norm(x, 4, w, b)",
          "ops.groupnorm",
          inputs={"x": "torch.randn(case.batch, 32, case.size)", "w": "torch.randn(32)", "b": "torch.randn(32)"},
          gpu=({"batch": 32, "size": 256}, {"batch": 3, "size": 77}),
          cpu=({"batch": 2, "size": 16}, {"batch": 1, "size": 7})),
    _gems("weight_norm", "weight_norm_interface(x, g)[0]", "torch._weight_norm(x, g, 0)", "ops.weightnorm",
          inputs={**_X, "g": "torch.randn(case.rows, 1)"}, gpu=_SUMS),
)  # fmt: skip
_REDUCTIONS = (
    _gems("sum", "sum(x)", "x.sum()", gpu=_SUMS, dtypes=("float32",),
          why="the kernel rounds its partial sums to the 16 bits of its inputs"),
    _gems("sum_dim", "sum_dim(x, [-1])", "x.sum(-1)", "ops.sum", gpu=_SUMS),
    _gems("mean", "mean(x)", "x.mean()", gpu=_SUMS, dtypes=("float32",),
          why="the kernel rounds its partial sums to the 16 bits of its inputs"),
    _gems("mean_dim", "mean_dim(x, [0])", "x.mean(0)", "ops.mean", gpu=_SUMS),
    _gems("amax", "amax(x, [-1])", "x.amax(-1)", gpu=_SUMS, options=_NO_NAN, why=_IGNORES_NAN, interpreted=False),
    _gems("max_dim", "max_dim(x, -1)[0]", "x.max(-1).values", "ops.max", gpu=_SUMS, options=_NO_NAN, why=_IGNORES_NAN,
          interpreted=False),
    _gems("min", "min(x)", "x.min()", gpu=_SUMS, options=_NO_NAN, why=_IGNORES_NAN, interpreted=False),
    _gems("argmax", "argmax(x, -1)", "x.argmax(-1)", gpu=_SUMS, dtypes=("float32",),
          options="SPECIAL_VALUES = ('zero', 'subnormal')",
          why="among several NaN or infinities, which one comes first is not specified", interpreted=False),
    _gems("prod_dim", "prod_dim(x, -1)", "x.prod(-1)", "ops.prod",
          inputs={"x": "torch.rand(case.rows, case.cols) + 0.6"},
          gpu=({"rows": 512, "cols": 64}, {"rows": 33, "cols": 17}), dtypes=("float32",)),
    _gems("var_mean", "var_mean(x, [-1])", "torch.var_mean(x, [-1])", gpu=_SUMS, options=_FINITE,
          why="the kernel gives infinity for the mean of inf and -inf, which is NaN", dtypes=("float32",)),
    _gems("vector_norm", "vector_norm(x, 2, [-1])", "torch.linalg.vector_norm(x, 2, [-1])", gpu=_SUMS),
    _gems("cumsum", "cumsum(x, 1)", "x.cumsum(1)", gpu=_SUMS),
    _gems("all_dim", "all_dim(x > -3, -1)", "(x > -3).all(-1)", "ops.all", gpu=_SUMS),
    _gems("mse_loss", "mse_loss(x, y)", "F.mse_loss(x, y)", inputs=_XY, gpu=_SUMS, interpreted=False),
    _gems("dot", "dot(x.reshape(-1), y.reshape(-1))", "torch.dot(x.reshape(-1), y.reshape(-1))", inputs=_XY, gpu=_SUMS,
          dtypes=("float32",)),
)  # fmt: skip
_MOVES = (
    _gems("embedding", "embedding(w, y)", "F.embedding(y, w)",
          inputs={"w": "torch.randn(case.rows, case.cols)", "y": "torch.randint(0, case.rows, (3 * case.rows,))"}),
    _gems("index_select", "index_select(x, 0, y)", "x.index_select(0, y)",
          inputs={**_X, "y": "torch.randint(0, case.rows, (case.rows,))"}),
    _gems("gather", "gather(x, 1, y)", "x.gather(1, y)",
          inputs={**_X, "y": "torch.randint(0, case.cols, (case.rows, case.cols))"}),
    _gems("flip", "flip(x, [1])", "x.flip([1])", interpreted=False),
    _gems("triu", "triu(x)", "x.triu()"),
    _gems("tile", "tile(x, (2, 3))", "x.tile((2, 3))", gpu=_SUMS),
    _gems("topk", "topk(x, 3)[0]", "x.topk(3).values", gpu=_SUMS, dtypes=("float32",),
          options="SPECIAL_VALUES = False\nLAYOUTS = ('contiguous', 'offset')",
          why="the kernel takes a strided input for a contiguous one; where NaN sorts is the reference's own choice"),
    _gems("sort", "sort(x)[0]", "x.sort().values", gpu=_SUMS, dtypes=("float32",), options="SPECIAL_VALUES = False",
          why="where NaN sorts is the reference's own choice", interpreted=False),
)  # fmt: skip
_PRODUCTS = (
    _gems("mm", "mm(a, b)", "a @ b", inputs=_MATRICES, gpu=_GPU_MATRICES, cpu=_CPU_MATRICES,
          dtypes=("float16", "bfloat16")),
    _gems("mm_tf32", "mm(a, b)", "a @ b", inputs=_MATRICES, gpu=_GPU_MATRICES, cpu=_CPU_MATRICES, dtypes=("float32",),
          options=f"{_TF32}\nSPECIAL_VALUES = False", why="the kernel multiplies in TF32, of 10 bits"),
    _gems("addmm", "addmm(c, a, b)", "torch.addmm(c, a, b)", inputs={**_MATRICES, "c": "torch.randn(case.m, case.n)"},
          gpu=_GPU_MATRICES, cpu=_CPU_MATRICES, dtypes=("float16", "bfloat16")),
    _gems("bmm", "bmm(a, b)", "a @ b",
          inputs={"a": "torch.randn(4, case.m, case.k)", "b": "torch.randn(4, case.k, case.n)"}, gpu=_GPU_MATRICES,
          cpu=_CPU_MATRICES, dtypes=("float16", "bfloat16")),
    _gems("mv", "mv(x, y)", "x @ y", inputs={**_X, "y": "torch.randn(case.cols)"}, gpu=_SUMS, dtypes=HALF),
    _gems("attention", "scaled_dot_product_attention(q, k, v)", "F.scaled_dot_product_attention(q, k, v)",
          "ops.attention",
          inputs=dict.fromkeys("qkv", "torch.randn(2, 4, case.length, 64)"),
          gpu=({"length": 512}, {"length": 128}), cpu=({"length": 32},), dtypes=("float16", "bfloat16"),
          options="SPECIAL_VALUES = False\nLAYOUTS = ('contiguous', 'offset')",
          why="attention over NaN keys is not specified", interpreted=False),
)  # fmt: skip
# Their code is generated for compiled kernels.
_COMPILED_ONLY = tuple(replace(kernel, interpreted=False) for kernel in _ELEMENTWISE)
KERNELS = (*_COMPILED_ONLY, *_ROWWISE, *_REDUCTIONS, *_MOVES, *_PRODUCTS)
