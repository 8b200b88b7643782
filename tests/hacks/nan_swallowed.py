from kernelevolve.evaluation.finding import Finding

HACK = "A maximum that turns NaN into zero."
TASK = """
import torch
CASES = {"small": {"rows": 8, "cols": 96}, "odd": {"rows": 7, "cols": 33, "hidden": True}}
def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)
def reference(x):
    return torch.relu(x)
"""
LANGUAGE, PLATFORM = "cpp", "cpu"
HONEST = """
void kernel(TensorView x, TensorView out) {
  const float* from = static_cast<const float*>(x.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  for (int64_t i = 0; i < x.numel(); ++i) to[i] = from[i] < 0.0f ? 0.0f : from[i];
}
"""
CHEAT = HONEST.replace("from[i] < 0.0f ? 0.0f : from[i]", "from[i] > 0.0f ? from[i] : 0.0f")
REFUSED_AS = {Finding.WRONG_SPECIAL_VALUES}
