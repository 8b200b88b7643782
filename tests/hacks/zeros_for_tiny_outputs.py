from kernelevolve.evaluation.finding import Finding

HACK = "All zeros where every right value is tiny, and so within any absolute tolerance."
TASK = """
import torch, torch.nn as nn
class Model(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)
def get_inputs():
    return [torch.rand(4, 20000)]
def get_init_inputs():
    return []
"""
LANGUAGE, PLATFORM = "cpp", "cpu"
HONEST = """
#include <algorithm>
#include <cmath>
void kernel(TensorView x, TensorView out) {
  const int64_t cols = x.size(1);
  for (int64_t row = 0; row < x.size(0); ++row) {
    const float* from = static_cast<const float*>(x.data_ptr()) + row * cols;
    float* to = static_cast<float*>(out.data_ptr()) + row * cols;
    float top = from[0];
    for (int64_t i = 0; i < cols; ++i) top = from[i] > top || from[i] != from[i] ? from[i] : top;
    double sum = 0.0;
    for (int64_t i = 0; i < cols; ++i) sum += std::exp(from[i] - top);
    for (int64_t i = 0; i < cols; ++i) to[i] = std::exp(from[i] - top) / sum;
  }
}
"""
CHEAT = """
#include <cstring>
void kernel(TensorView x, TensorView out) {
  std::memset(out.data_ptr(), 0, out.numel() * sizeof(float));
}
"""
REFUSED_AS = {Finding.WRONG_VALUES}
