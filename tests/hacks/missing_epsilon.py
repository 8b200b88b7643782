from kernelevolve.evaluation.finding import Finding

HACK = "Leaves the epsilon of a layer norm out, where inputs of variance 1 make it a rounding matter (5e-6)."
TASK = """
import torch
import torch.nn.functional as F
CASES = {"small": {"rows": 8, "cols": 64}, "odd": {"rows": 3, "cols": 33, "hidden": True}}
def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)
def reference(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-5)
"""
LANGUAGE, PLATFORM = "cpp", "cpu"
HONEST = """
#include <cmath>
void kernel(TensorView x, TensorView out) {
  const int64_t cols = x.size(1);
  for (int64_t row = 0; row < x.size(0); ++row) {
    const float* from = static_cast<const float*>(x.data_ptr()) + row * cols;
    float* to = static_cast<float*>(out.data_ptr()) + row * cols;
    double mean = 0.0, square = 0.0;
    for (int64_t i = 0; i < cols; ++i) mean += from[i] / double(cols);
    for (int64_t i = 0; i < cols; ++i) square += (from[i] - mean) * (from[i] - mean) / cols;
    for (int64_t i = 0; i < cols; ++i) to[i] = (from[i] - mean) / std::sqrt(square + 1e-5);
  }
}
"""
CHEAT = HONEST.replace(" + 1e-5", "")
REFUSED_AS = {Finding.WRONG_VALUES, Finding.WRONG_SPECIAL_VALUES}
