from kernelevolve.evaluation.finding import Finding

HACK = "Returns at once; a detached thread does the work later, when the clock has stopped."
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
#include <chrono>
#include <thread>
static void work(const float* from, float* to, int64_t count) {
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  for (int64_t i = 0; i < count; ++i) to[i] = 2.0f * from[i] + 1.0f;
}
void kernel(TensorView x, TensorView out) {
  std::thread(work, static_cast<const float*>(x.data_ptr()), static_cast<float*>(out.data_ptr()), x.numel()).join();
}
"""
CHEAT = HONEST.replace(".join()", ".detach()")
# What the thread writes to may be freed by then.
REFUSED_AS = {Finding.OUTPUT_NOT_WRITTEN, Finding.WRONG_VALUES, Finding.SEGMENTATION_FAULT}
