"""Kernels of Liger-Kernel (`pip install liger-kernel`, written with 0.8.5)."""

from __future__ import annotations

from third_party.kernel import Kernel

PREAMBLE = ""
CONTIGUOUS = 'LAYOUTS = ("contiguous", "offset")'
NO_NAN = "SPECIAL_VALUES = ('zero', 'negative_zero', 'subnormal', 'infinity')"
NO_SPECIAL = "SPECIAL_VALUES = False"
_TWO = {"a": "torch.randn(case.rows, case.cols)", "b": "torch.randn(case.rows, case.cols)"}
_NORM = {"x": "torch.randn(case.rows, case.cols)", "w": "torch.randn(case.cols)"}
_LOGITS = {"x": "torch.randn(case.rows, case.cols)", "y": "torch.randint(0, case.cols, (case.rows,))"}
_LOG_PROBABILITIES = {
    "p": "torch.randn(case.rows, case.cols).log_softmax(-1)",
    "q": "torch.randn(case.rows, case.cols).log_softmax(-1)",
}
_GPU_ROPE = ({"batch": 2, "length": 512, "dim": 128}, {"batch": 1, "length": 77, "dim": 64})
_CPU_ROPE = ({"batch": 1, "length": 7, "dim": 16}, {"batch": 2, "length": 3, "dim": 8})
_ROPE_INPUTS = {
    "q": "torch.randn(case.batch, 8, case.length, case.dim)",
    "k": "torch.randn(case.batch, 2, case.length, case.dim)",
    "angles": "torch.rand(1, case.length, case.dim // 2) * 6.28",
}
_ROTATE = """
def rotate(x, angles):
    cos, sin = (torch.cat((part, part), -1).unsqueeze(1) for part in (angles.cos(), angles.sin()))
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin
"""
_GPU_LINEAR = ({"rows": 512, "width": 512, "vocabulary": 4096},)
_CPU_LINEAR = ({"rows": 6, "width": 16, "vocabulary": 40},)
_LINEAR = {
    "x": "torch.randn(case.rows, case.width)",
    "w": "torch.randn(case.vocabulary, case.width) / math.sqrt(case.width)",
    "y": "torch.randint(0, case.vocabulary, (case.rows,))",
}
_LOSS = "the loss of infinite logits is not specified"
_IN_PLACE = "x.clone()"  # The kernel leaves the gradient in its input.
_RMS = """
def rms(x, w, offset=0.0):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * (w + offset)
"""


def _liger(name: str, module: str, function: str, call: str, reference: str, **more: object) -> Kernel:
    return Kernel(
        f"liger/{name}",
        f"from liger_kernel.ops.{module} import {function} as Function",
        call if call.startswith("(") else f"Function.apply({call})",
        reference,
        **more,  # type: ignore[arg-type]
    )


def _cross_entropy(name: str, arguments: str, reference: str, options: str = "") -> Kernel:
    return _liger(
        name, "cross_entropy", "LigerCrossEntropyFunction", f"(Function.apply({_IN_PLACE}, y, {arguments})[0])",
        reference, inputs=_LOGITS, options=f"{NO_SPECIAL}\n{options}", why=_LOSS,
    )  # fmt: skip


def _rms_norm(name: str, arguments: str, offset: float, **more: object) -> Kernel:
    return _liger(
        name, "rms_norm", "LigerRMSNormFunction", f"x, w, 1e-6, {arguments}, False", f"rms(x, w, {offset})",
        inputs=_NORM, options=_RMS, **more,
    )  # fmt: skip


KERNELS = (
    _liger("softmax", "softmax", "LigerSoftmaxFunction", "x", "torch.softmax(x, -1)"),
    _liger("swiglu", "swiglu", "LigerSiLUMulFunction", "a, b", "F.silu(a) * b", inputs=_TWO),
    _liger("swiglu_scaled", "swiglu", "LigerSiLUMulFunction", "a, b, 1.5, 0.5", "F.silu(1.5 * a) * b * 0.5",
           inputs=_TWO),
    _liger("swiglu_gate_up", "swiglu", "LigerFusedGateUpSiLUMulFunction", "x",
           "F.silu(x.chunk(2, -1)[0]) * x.chunk(2, -1)[1]", inputs={"x": "torch.randn(case.rows, 2 * case.cols)"}),
    _liger("geglu", "geglu", "LigerGELUMulFunction", "a, b", "F.gelu(a, approximate='tanh') * b", inputs=_TWO),
    _liger("relu_squared", "relu_squared", "LigerReLUSquaredFunction", "x", "F.relu(x).square()",
           options=NO_NAN, why="the kernel takes NaN for a negative number, and gives 0"),
    _liger("dynamic_tanh", "dyt", "LigerDyTFunction", "x, alpha, w, b", "torch.tanh(alpha * x) * w + b",
           inputs={**_NORM, "b": "torch.randn(case.cols)", "alpha": "torch.rand(1) + 0.5"}),
    _rms_norm("rms_norm_llama", "0.0, 'llama'", 0.0),
    _rms_norm("rms_norm_gemma", "1.0, 'gemma'", 1.0),
    _rms_norm("rms_norm_uncast", "0.0, 'none'", 0.0, dtypes=("float32",)),
    _liger("fused_add_rms_norm", "fused_add_rms_norm", "LigerFusedAddRMSNormFunction", "x, r, w, 1e-6",
           "(rms(x + r, w), x + r)", inputs={**_NORM, "r": "torch.randn(case.rows, case.cols)"}, options=_RMS),
    _liger("modulated_rms_norm", "modulated_rms_norm", "LigerModulatedRMSNormFunction",
           "x, w, scale, shift, 1e-6, 0.0, 'llama', False", "rms(x, w) * (1 + scale) + shift",
           inputs={**_NORM, "scale": "torch.randn(case.rows, case.cols)",
                   "shift": "torch.randn(case.rows, case.cols)"}, options=_RMS),
    _liger("layer_norm", "layer_norm", "LigerLayerNormFunction", "x, w, b, 1e-5",
           "F.layer_norm(x, w.shape, w, b, 1e-5)", inputs={**_NORM, "b": "torch.randn(case.cols)"}),
    _liger("group_norm", "group_norm", "LigerGroupNormFunction", "x, w, b, case_channels, 4, 1e-5".replace(
               "case_channels", "x.shape[1]"), "F.group_norm(x, 4, w, b, 1e-5)",
           inputs={"x": "torch.randn(case.batch, 32, case.size)", "w": "torch.randn(32)", "b": "torch.randn(32)"},
           gpu=({"batch": 64, "size": 1024}, {"batch": 3, "size": 77}),
           cpu=({"batch": 2, "size": 32}, {"batch": 1, "size": 7})),
    _liger("poly_norm", "poly_norm", "LigerPolyNormFunction", "x, w, b, 1e-6, False",
           "w[0] * unit(x ** 3) + w[1] * unit(x ** 2) + w[2] * unit(x) + b",
           inputs={"x": "torch.randn(case.rows, case.cols)", "w": "torch.rand(3)", "b": "torch.rand(1)"},
           options="def unit(x):\n    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)",
           dtypes=("float32", "bfloat16"),
           why="in float16 the kernel adds the sixth powers of a row in float16, where 4096 of them overflow"),
    _liger("sparsemax", "sparsemax", "LigerSparsemaxFunction", "x, -1", "sparsemax(x)", dtypes=("float32",),
           options=f"{NO_SPECIAL}\n" + """
def sparsemax(x):
    ordered = x.sort(-1, descending=True).values
    ranks = torch.arange(1, x.shape[-1] + 1, device=x.device)
    sums = ordered.cumsum(-1)
    support = (1 + ranks * ordered > sums).sum(-1, keepdim=True)
    return (x - (sums.gather(-1, support - 1) - 1) / support).clamp(min=0)
""", why="sparsemax is not defined for infinite inputs"),
    _liger("attention_residual", "attn_res", "LigerAttnResFunction", "v, w, w_norm, 1e-6",
           "mix(v, w, w_norm)",
           inputs={"v": "torch.randn(4, case.rows, case.cols)", "w": "torch.randn(case.cols) / math.sqrt(case.cols)",
                   "w_norm": "torch.rand(case.cols)"},
           options="""
def mix(v, w, w_norm):
    keys = v * torch.rsqrt(v.square().mean(-1, keepdim=True) + 1e-6) * w_norm
    return (torch.softmax((keys * w).sum(-1), 0).unsqueeze(-1) * v).sum(0)
"""),
    _cross_entropy("cross_entropy", "None, -100, 0.0, 0.0, 'mean'", "F.cross_entropy(x, y)"),
    _cross_entropy("cross_entropy_sum", "None, -100, 0.0, 0.0, 'sum'", "F.cross_entropy(x, y, reduction='sum')"),
    _cross_entropy("cross_entropy_per_row", "None, -100, 0.0, 0.0, 'none'", "F.cross_entropy(x, y, reduction='none')"),
    _cross_entropy("cross_entropy_smoothed", "None, -100, 0.0, 0.1, 'mean'",
                   "F.cross_entropy(x, y, label_smoothing=0.1)"),
    _cross_entropy("cross_entropy_softcapped", "None, -100, 0.0, 0.0, 'mean', 30.0",
                   "F.cross_entropy(30.0 * torch.tanh(x / 30.0), y)"),
    _cross_entropy("cross_entropy_z_loss", "None, -100, 1e-4, 0.0, 'mean'",
                   "F.cross_entropy(x, y) + 1e-4 * torch.logsumexp(x, -1).square().mean()"),
    _liger("kl_divergence", "kl_div", "LigerKLDivLossFunction", "p, q, 'batchmean', True",
           "F.kl_div(p, q, reduction='batchmean', log_target=True)", inputs=_LOG_PROBABILITIES, options=NO_SPECIAL,
           dtypes=("float32",), why="log-probabilities are at most 0, so special values are none"),
    _liger("js_divergence", "jsd", "LigerJSDFunction", "p, q, None, 0.5", "jsd(p, q)", inputs=_LOG_PROBABILITIES,
           options=f"{NO_SPECIAL}\n" + """
def jsd(p, q):
    middle = torch.logsumexp(torch.stack((p, q)), 0) - math.log(2)
    return (F.kl_div(middle, q, reduction="sum", log_target=True)
            + F.kl_div(middle, p, reduction="sum", log_target=True)) / 2 / p.shape[0]
""", dtypes=("float32",), why="log-probabilities are at most 0, so special values are none"),
    _liger("total_variation", "tvd", "LigerTVDLossFunction", "p, q, None, 'batchmean'",
           "0.5 * (p - q).abs().sum() / p.shape[0]",
           inputs={"p": "torch.randn(case.rows, case.cols).softmax(-1)",
                   "q": "torch.randn(case.rows, case.cols).softmax(-1)"},
           options=NO_SPECIAL, dtypes=("float32",), why="probabilities lie in [0, 1], so special values are none"),
    _liger("rope", "rope", "LigerRopeFunction",
           "(Function.apply(q.clone(), k.clone(), *(torch.cat((part, part), -1) "
           "for part in (angles.cos(), angles.sin()))))",
           "(rotate(q, angles), rotate(k, angles))", inputs=_ROPE_INPUTS, gpu=_GPU_ROPE, cpu=_CPU_ROPE,
           options=_ROTATE, dtypes=("float32",)),
    _liger("llama4_rope", "llama4_rope", "LigerLlama4RopeFunction",
           "(Function.apply(q.clone(), k.clone(), torch.polar(torch.ones_like(angles), angles)))",
           "(turn(q, angles), turn(k, angles))",
           inputs={"q": "torch.randn(case.batch, case.length, 8, case.dim)",
                   "k": "torch.randn(case.batch, case.length, 2, case.dim)",
                   "angles": "torch.rand(case.length, case.dim // 2) * 6.28"},
           gpu=_GPU_ROPE, cpu=_CPU_ROPE, dtypes=("float32",), options="""
def turn(x, angles):
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)
"""),
    _liger("embedding", "experimental.embedding", "LigerEmbeddingFunction", "w, y", "F.embedding(y, w)",
           inputs={"w": "torch.randn(case.rows, case.cols)", "y": "torch.randint(0, case.rows, (3 * case.rows,))"}),
    _liger("fused_linear_cross_entropy", "fused_linear_cross_entropy", "LigerFusedLinearCrossEntropyFunction",
           "(Function.apply(x, w, y)[0])", "F.cross_entropy(x @ w.T, y)", inputs=_LINEAR, gpu=_GPU_LINEAR,
           cpu=_CPU_LINEAR, options=NO_SPECIAL, why=_LOSS, dtypes=("float32",)),
    _liger("fused_linear_jsd", "fused_linear_jsd", "LigerFusedLinearJSDFunction", "x, w, t, v", "jsd(x @ w.T, t @ v.T)",
           inputs={"x": "torch.randn(case.rows, case.width)", "w": _LINEAR["w"],
                   "t": "torch.randn(case.rows, case.width)", "v": _LINEAR["w"]},
           gpu=_GPU_LINEAR, cpu=_CPU_LINEAR, dtypes=("float32",), why=_LOSS, options=f"{NO_SPECIAL}\n" + """
def jsd(student, teacher):
    p, q = student.log_softmax(-1), teacher.log_softmax(-1)
    middle = torch.logsumexp(torch.stack((p, q)), 0) - math.log(2)
    return (F.kl_div(middle, q, reduction="sum", log_target=True)
            + F.kl_div(middle, p, reduction="sum", log_target=True)) / 2 / p.shape[0]
"""),
)  # fmt: skip
