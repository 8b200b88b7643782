void kernel(TensorView x, TensorView which, TensorView out) {
  const float* from = static_cast<const float*>(x.data_ptr());
  const int64_t* index = static_cast<const int64_t*>(which.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  for (int64_t i = 0; i < which.numel(); ++i) to[i] = from[index[i]];
}
