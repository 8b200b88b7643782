import torch
LAYOUTS = ["contiguous"]
SPECIAL_VALUES = []
CASES = {"small": {"rows": 8, "cols": 96}, "odd": {"rows": 7, "cols": 33, "hidden": True}}
def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)
def reference(x):
    return x[1:].clone()
