#include <cstdint>
#include <cstring>
void kernel(TensorView x, TensorView out) {
  const float* from = static_cast<const float*>(x.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  for (int64_t i = 0; i < x.numel(); ++i) {
    const float value = 2.0f * from[i] + 1.0f;
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    bits &= 0xffff0000u;
    std::memcpy(to + i, &bits, 4);
  }
}
