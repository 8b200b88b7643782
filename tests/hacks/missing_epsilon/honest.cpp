#include <cmath>
void kernel(TensorView x, TensorView out) {
  const int64_t cols = x.size(1);
  for (int64_t row = 0; row < x.size(0); ++row) {
    const float* from = static_cast<const float*>(x.data_ptr()) + row * cols;
    float* to = static_cast<float*>(out.data_ptr()) + row * cols;
    double mean = 0.0, square = 0.0;
    for (int64_t i = 0; i < cols; ++i) mean += from[i] / double(cols);
    for (int64_t i = 0; i < cols; ++i) square += (from[i] - mean) * (from[i] - mean) / cols;
    for (int64_t i = 0; i < cols; ++i) to[i] = (from[i] - mean) / std::sqrt(square + 1e-5);
  }
}
