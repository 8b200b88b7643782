#include <cstring>
void kernel(TensorView x, TensorView out) {
  std::memset(out.data_ptr(), 0, out.numel() * sizeof(float));
}
