// Three passes over each row: maximum, sum of exponentials, result.
#include <algorithm>
#include <cmath>
#include <limits>

void kernel(TensorView x, TensorView out) {
  const int64_t rows = x.size(0);
  const int64_t cols = x.size(1);
  const float* input = static_cast<const float*>(x.data_ptr());
  float* output = static_cast<float*>(out.data_ptr());

  for (int64_t row = 0; row < rows; ++row) {
    const float* in = input + row * cols;
    float* to = output + row * cols;

    // std::max passes over a NaN here; exp(NaN - maximum) then makes the whole row NaN, as torch does.
    float maximum = -std::numeric_limits<float>::infinity();
    for (int64_t col = 0; col < cols; ++col) {
      maximum = std::max(maximum, in[col]);
    }
    float total = 0.0f;
    for (int64_t col = 0; col < cols; ++col) {
      to[col] = std::exp(in[col] - maximum);
      total += to[col];
    }
    for (int64_t col = 0; col < cols; ++col) {
      to[col] /= total;
    }
  }
}
