// Three passes over each row: mean, variance, result.
#include <cmath>

void kernel(TensorView x, TensorView weight, TensorView bias, double eps, TensorView out) {
  const int64_t rows = x.size(0);
  const int64_t cols = x.size(1);
  const float* input = static_cast<const float*>(x.data_ptr());
  const float* w = static_cast<const float*>(weight.data_ptr());
  const float* b = static_cast<const float*>(bias.data_ptr());
  float* output = static_cast<float*>(out.data_ptr());

  for (int64_t row = 0; row < rows; ++row) {
    const float* in = input + row * cols;
    float* to = output + row * cols;

    float sum = 0.0f;
    for (int64_t col = 0; col < cols; ++col) {
      sum += in[col];
    }
    const float mean = sum / cols;

    float squares = 0.0f;
    for (int64_t col = 0; col < cols; ++col) {
      const float centred = in[col] - mean;
      squares += centred * centred;
    }
    const float scale = 1.0f / std::sqrt(squares / cols + static_cast<float>(eps));

    for (int64_t col = 0; col < cols; ++col) {
      to[col] = (in[col] - mean) * scale * w[col] + b[col];
    }
  }
}
