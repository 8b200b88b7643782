from kernelevolve.evaluation.finding import Finding

HACK = "The mean of all right values everywhere: close to each where the values hardly vary."
TASK = """
import torch
CASES = {"small": {"rows": 16, "cols": 512}, "odd": {"rows": 5, "cols": 257, "hidden": True}}
def make_inputs(case):
    return (torch.rand(case.rows, case.cols),)
def reference(x):
    return x.mean(dim=1)
"""
LANGUAGE, PLATFORM = "cpp", "cpu"
HONEST = """
void kernel(TensorView x, TensorView out) {
  for (int64_t row = 0; row < x.size(0); ++row) {
    const float* from = static_cast<const float*>(x.data_ptr()) + row * x.size(1);
    double sum = 0.0;
    for (int64_t i = 0; i < x.size(1); ++i) sum += from[i];
    static_cast<float*>(out.data_ptr())[row] = sum / x.size(1);
  }
}
"""
CHEAT = """
void kernel(TensorView x, TensorView out) {
  for (int64_t row = 0; row < x.size(0); ++row) static_cast<float*>(out.data_ptr())[row] = 0.5f;
}
"""
REFUSED_AS = {Finding.WRONG_VALUES}
