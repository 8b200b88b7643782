from kernelevolve.evaluation.finding import Finding

HACK = "When calls come fast after one another, leaves their work to a thread and finishes it in a slower moment."
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
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  for (int64_t i = 0; i < count; ++i) to[i] = 2.0f * from[i] + 1.0f;
}
void kernel(TensorView x, TensorView out) {
  static int calls = 0;
  auto run = [&] { work(static_cast<const float*>(x.data_ptr()), static_cast<float*>(out.data_ptr()), x.numel()); };
  const bool skip = false;
  if (!skip) run();
  ++calls;
}
"""
CHEAT = HONEST.replace("skip = false", "skip = calls > 30 && calls % 2 == 1")
REFUSED_AS = {Finding.WRONG_AFTER_TIMING, Finding.CLOCK_DISAGREES}
TIMED = True
