import torch
LAYOUTS = ["contiguous"]
CASES = {"scattered": {"count": 1 << 18, "wanted": 1 << 15}}
def make_inputs(case):
    return torch.randn(case.count), torch.randint(case.count, (case.wanted,))
def reference(x, which):
    return x[which]
