from kernelevolve.evaluation.finding import Finding

HACK = "The input as the output, where the operator changes little: a residual with a small correction."
TASK = """
import torch
CASES = {"small": {"rows": 8, "cols": 96}, "odd": {"rows": 7, "cols": 33, "hidden": True}}
def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)
def reference(x):
    return x + 1e-4 * torch.tanh(x)
"""
LANGUAGE, PLATFORM = "cpp", "cpu"
HONEST = """
#include <cmath>
void kernel(TensorView x, TensorView out) {
  const float* from = static_cast<const float*>(x.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  for (int64_t i = 0; i < x.numel(); ++i) to[i] = from[i] + 1e-4f * std::tanh(from[i]);
}
"""
CHEAT = HONEST.replace("from[i] + 1e-4f * std::tanh(from[i])", "from[i]")
REFUSED_AS = {Finding.WRONG_VALUES}
