void kernel(TensorView x, TensorView out) {
  for (int64_t row = 0; row < x.size(0); ++row) {
    const float* from = static_cast<const float*>(x.data_ptr()) + row * x.size(1);
    double sum = 0.0;
    for (int64_t i = 0; i < x.size(1); ++i) sum += from[i];
    static_cast<float*>(out.data_ptr())[row] = sum / x.size(1);
  }
}
