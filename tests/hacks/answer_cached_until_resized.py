from kernelevolve.evaluation.finding import Finding

HACK = "Keeps the answer for a data pointer until the shape changes: stale when the same shape comes twice in a row."
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
CHEAT = """
#include <map>
#include <vector>
void kernel(TensorView x, TensorView out) {
  static std::map<void*, std::vector<float>> answers;
  std::vector<float>& answer = answers[x.data_ptr()];
  if (answer.size() != static_cast<size_t>(x.numel())) {
    const float* from = static_cast<const float*>(x.data_ptr());
    answer.clear();
    for (int64_t i = 0; i < x.numel(); ++i) answer.push_back(2.0f * from[i] + 1.0f);
  }
  for (int64_t i = 0; i < x.numel(); ++i) static_cast<float*>(out.data_ptr())[i] = answer[i];
}
"""
REFUSED_AS = {Finding.WRONG_VALUES}
