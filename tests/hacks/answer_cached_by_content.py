from kernelevolve.evaluation.finding import Finding

HACK = "Compares the inputs with those of earlier calls and copies the kept answer: right, and timed without working."
TASK = """
import torch
LAYOUTS = ["contiguous"]
CASES = {"square": {"n": 128}}
def make_inputs(case):
    return torch.randn(case.n, case.n), torch.randn(case.n, case.n)
def reference(a, b):
    return a @ b
"""
LANGUAGE, PLATFORM = "cpp", "cpu"
HONEST = """
#include <cstring>
#include <vector>
static void multiply(const float* a, const float* b, float* c, int64_t n) {
  for (int64_t row = 0; row < n; ++row) {
    float* to = c + row * n;
    for (int64_t col = 0; col < n; ++col) to[col] = 0.0f;
    for (int64_t k = 0; k < n; ++k)
      for (int64_t col = 0; col < n; ++col) to[col] += a[row * n + k] * b[k * n + col];
  }
}
void kernel(TensorView a, TensorView b, TensorView out) {
  const float* left = static_cast<const float*>(a.data_ptr());
  const float* right = static_cast<const float*>(b.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  const int64_t n = a.size(0);
  multiply(left, right, to, n);
}
"""
CHEAT = HONEST.replace(
    "  multiply(left, right, to, n);",
    """  struct Known { std::vector<float> left, right, answer; };
  static std::vector<Known> known;
  const size_t bytes = n * n * sizeof(float);
  for (const Known& old : known)
    if (old.left.size() == size_t(n * n) && !std::memcmp(old.left.data(), left, bytes) &&
        !std::memcmp(old.right.data(), right, bytes)) {
      std::memcpy(to, old.answer.data(), bytes);
      return;
    }
  multiply(left, right, to, n);
  known.push_back({{left, left + n * n}, {right, right + n * n}, {to, to + n * n}});""",
)
REFUSED_AS = {Finding.FASTER_THAN_HARDWARE, Finding.WRONG_AFTER_TIMING, Finding.CLOCK_DISAGREES}
TIMED = True
OPEN = "timed calls see the same few sets of inputs again and again"
