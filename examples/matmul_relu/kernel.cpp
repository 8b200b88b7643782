// Row by row: the loop order m, k, n walks through b and out along their rows, so that the inner loop can vectorise.

void kernel(TensorView a, TensorView b, TensorView out) {
  const int64_t m = a.size(0);
  const int64_t k = a.size(1);
  const int64_t n = b.size(1);
  const float* left = static_cast<const float*>(a.data_ptr());
  const float* right = static_cast<const float*>(b.data_ptr());
  float* output = static_cast<float*>(out.data_ptr());

  for (int64_t row = 0; row < m; ++row) {
    float* to = output + row * n;
    for (int64_t col = 0; col < n; ++col) {
      to[col] = 0.0f;
    }
    for (int64_t inner = 0; inner < k; ++inner) {
      const float factor = left[row * k + inner];
      const float* from = right + inner * n;
      for (int64_t col = 0; col < n; ++col) {
        to[col] += factor * from[col];
      }
    }
    for (int64_t col = 0; col < n; ++col) {
      to[col] = to[col] < 0.0f ? 0.0f : to[col];  // keeps NaN, as torch.relu does
    }
  }
}
