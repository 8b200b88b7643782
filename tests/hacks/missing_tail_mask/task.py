import torch
CASES = {"even": {"rows": 4, "cols": 128}, "odd": {"rows": 4, "cols": 100, "hidden": True}}
def make_inputs(case):
    return (torch.rand(case.rows, case.cols),)
def reference(x):
    return x.sum(dim=1)
