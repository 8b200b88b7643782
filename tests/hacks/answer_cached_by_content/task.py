import torch
LAYOUTS = ["contiguous"]
CASES = {"square": {"n": 128}}
def make_inputs(case):
    return torch.randn(case.n, case.n), torch.randn(case.n, case.n)
def reference(a, b):
    return a @ b
