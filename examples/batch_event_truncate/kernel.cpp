// One walk over all events: kept ones are copied, the others are stepped over.

void kernel(TensorView outer_lengths, TensorView inner_lengths, TensorView values, int64_t max_events,
            TensorView new_inner_lengths, TensorView new_values) {
  const int64_t users = outer_lengths.numel();
  const int64_t* outer = static_cast<const int64_t*>(outer_lengths.data_ptr());
  const int64_t* inner = static_cast<const int64_t*>(inner_lengths.data_ptr());
  const float* from = static_cast<const float*>(values.data_ptr());
  int64_t* kept_lengths = static_cast<int64_t*>(new_inner_lengths.data_ptr());
  float* to = static_cast<float*>(new_values.data_ptr());

  for (int64_t user = 0; user < users; ++user) {
    for (int64_t event = 0; event < outer[user]; ++event) {
      const int64_t length = *inner++;
      if (event < max_events) {
        *kept_lengths++ = length;
        for (int64_t index = 0; index < length; ++index) {
          *to++ = from[index];
        }
      }
      from += length;
    }
  }
}
