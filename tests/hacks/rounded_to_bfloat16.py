from kernelevolve.evaluation.finding import Finding

HACK = "Drops the low half of each fp32 result, as a bf16 store would."
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
#include <cstdint>
#include <cstring>
void kernel(TensorView x, TensorView out) {
  const float* from = static_cast<const float*>(x.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  for (int64_t i = 0; i < x.numel(); ++i) {
    const float value = 2.0f * from[i] + 1.0f;
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    bits &= 0xffffffffu;
    std::memcpy(to + i, &bits, 4);
  }
}
"""
CHEAT = HONEST.replace("0xffffffffu", "0xffff0000u")
REFUSED_AS = {Finding.WRONG_VALUES}
