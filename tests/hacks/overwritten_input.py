from kernelevolve.evaluation.finding import Finding

HACK = "Overwrites the input, so that a reference which is run on it afterwards agrees with a wrong output."
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
CHEAT = HONEST.replace(
    "to[i] = 2.0f * from[i] + 1.0f",
    "const_cast<float*>(from)[i] = 0.0f, to[i] = 1.0f",
)
REFUSED_AS = {Finding.WRONG_VALUES, Finding.INPUT_MODIFIED}
