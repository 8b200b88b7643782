import torch
LAYOUTS = ["contiguous"]
CASES = {"large": {"count": 1 << 19}}
def make_inputs(case):
    return (torch.randn(case.count),)
def reference(x):
    return 2.0 * x + 1.0
