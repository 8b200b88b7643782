// Two passes over each row: the sum of squares, then the result from both halves.
#include <cmath>

void kernel(TensorView x, TensorView weight, double eps, TensorView out) {
  const int64_t rows = x.size(0);
  const int64_t cols = x.size(1);
  const int64_t half = cols / 2;
  const float* input = static_cast<const float*>(x.data_ptr());
  const float* w = static_cast<const float*>(weight.data_ptr());
  float* output = static_cast<float*>(out.data_ptr());

  for (int64_t row = 0; row < rows; ++row) {
    const float* in = input + row * cols;
    float* to = output + row * half;

    float squares = 0.0f;
    for (int64_t col = 0; col < cols; ++col) {
      squares += in[col] * in[col];
    }
    const float scale = 1.0f / std::sqrt(squares / cols + static_cast<float>(eps));

    for (int64_t col = 0; col < half; ++col) {
      const float gate = in[col] * scale * w[col];
      const float up = in[col + half] * scale * w[col + half];
      to[col] = gate / (1.0f + std::exp(-gate)) * up;
    }
  }
}
