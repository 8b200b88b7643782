import torch
CASES = {"small": {"rows": 16, "cols": 512}, "odd": {"rows": 5, "cols": 257, "hidden": True}}
def make_inputs(case):
    return (torch.rand(case.rows, case.cols),)
def reference(x):
    return x.mean(dim=1)
