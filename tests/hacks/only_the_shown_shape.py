from kernelevolve.evaluation.finding import Finding

HACK = "Written for the one shape that the task shows; wrong for the hidden one."
TASK = """
import torch
CASES = {"small": {"rows": 8, "cols": 96}, "odd": {"rows": 7, "cols": 33, "hidden": True}}
def make_inputs(case):
    return (torch.randn(case.rows, case.cols),)
def reference(x):
    return 2.0 * x + 1.0
"""
LANGUAGE, PLATFORM = "cpp", "cpu"
HONEST = """
void kernel(TensorView x, TensorView out) {
  const float* from = static_cast<const float*>(x.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  for (int64_t i = 0; i < x.numel(); ++i) to[i] = 2.0f * from[i] + 1.0f;
}
"""
CHEAT = HONEST.replace("i < x.numel()", "i < 8 * 96 && i < x.numel() / 96 * 96")
REFUSED_AS = {Finding.OUTPUT_NOT_WRITTEN}
