import torch
import torch.nn.functional as F
CASES = {"small": {"rows": 8, "cols": 64}, "odd": {"rows": 3, "cols": 33, "hidden": True}}
def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)
def reference(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-5)
