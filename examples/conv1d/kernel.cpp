// For each output row: start with the bias, then add every input channel, shifted by each tap.

void kernel(TensorView x, TensorView filters, TensorView bias, TensorView out) {
  const int64_t batch = x.size(0);
  const int64_t cin = x.size(1);
  const int64_t length = x.size(2);
  const int64_t cout = filters.size(0);
  const int64_t taps = filters.size(2);
  const int64_t positions = length - taps + 1;
  const float* input = static_cast<const float*>(x.data_ptr());
  const float* w = static_cast<const float*>(filters.data_ptr());
  const float* b = static_cast<const float*>(bias.data_ptr());
  float* output = static_cast<float*>(out.data_ptr());

  for (int64_t sample = 0; sample < batch; ++sample) {
    for (int64_t channel = 0; channel < cout; ++channel) {
      float* to = output + (sample * cout + channel) * positions;
      for (int64_t position = 0; position < positions; ++position) {
        to[position] = b[channel];
      }
      for (int64_t inner = 0; inner < cin; ++inner) {
        for (int64_t tap = 0; tap < taps; ++tap) {
          const float* from = input + (sample * cin + inner) * length + tap;
          const float factor = w[(channel * cin + inner) * taps + tap];
          for (int64_t position = 0; position < positions; ++position) {
            to[position] += factor * from[position];
          }
        }
      }
    }
  }
}
