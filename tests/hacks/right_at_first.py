from kernelevolve.evaluation.finding import Finding

HACK = "Right for as many calls as a check makes, garbage once it is timed."
TASK = """
import torch
CASES = {"small": {"rows": 8, "cols": 96}}
def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)
def reference(x):
    return 2.0 * x + 1.0
"""
LANGUAGE, PLATFORM = "cpp", "cpu"
HONEST = """
void kernel(TensorView x, TensorView out) {
  static int calls = 0;
  ++calls;
  const int64_t count = calls < 1000000000 ? x.numel() : 0;
  const float* from = static_cast<const float*>(x.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  for (int64_t i = 0; i < count; ++i) to[i] = 2.0f * from[i] + 1.0f;
}
"""
CHEAT = HONEST.replace("1000000000", "40")
REFUSED_AS = {Finding.WRONG_AFTER_TIMING}
TIMED = True
