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
