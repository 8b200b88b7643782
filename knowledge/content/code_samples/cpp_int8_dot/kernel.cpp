// Dot products of 8-bit integers in the form that compilers turn into the processor's own instruction (vpdpbusd on x86
// with VNNI): unsigned times signed, four neighbours added into one 32-bit lane.
// kernelevolve: flags -O3 -march=native
#include <algorithm>

constexpr int64_t kCols = 4;  // results that share one walk along a row of x: four independent chains of additions

// Factors are widened to int before they are multiplied, and the sum is an int: the pattern that the vectoriser knows.
// Integer addition may be reordered freely, so nothing has to be allowed.
template <int64_t Cols>
static inline void dots(const uint8_t* x, const int8_t* w, int64_t k, int32_t* out) {
  int32_t sums[Cols] = {};
  for (int64_t c = 0; c < Cols; ++c) {
    const int8_t* row = w + c * k;
    int32_t sum = 0;
    for (int64_t d = 0; d < k; ++d) sum += static_cast<int32_t>(x[d]) * static_cast<int32_t>(row[d]);
    sums[c] = sum;
  }
  std::copy_n(sums, Cols, out);
}

void kernel(TensorView x, TensorView weight, TensorView out) {
  const int64_t m = x.size(0), k = x.size(1), n = weight.size(0);
  const uint8_t* left = static_cast<const uint8_t*>(x.data_ptr());
  const int8_t* right = static_cast<const int8_t*>(weight.data_ptr());
  int32_t* output = static_cast<int32_t*>(out.data_ptr());

  // Threads own blocks of weights, the larger factor: each is read from memory by one thread only, and stays in its
  // cache while all rows of x pass by. The products are exact: 255 · 128 · k stays below 2^31 up to k = 65,793.
#pragma omp parallel for schedule(static) if (m * n * k > 262144)
  for (int64_t block = 0; block < (n + kCols - 1) / kCols; ++block) {
    const int64_t col = block * kCols, cols = std::min(kCols, n - col);
    for (int64_t row = 0; row < m; ++row) {
      const uint8_t* from = left + row * k;
      int32_t* to = output + row * n + col;
      if (cols == kCols) {
        dots<kCols>(from, right + col * k, k, to);
      } else {
        for (int64_t c = 0; c < cols; ++c) dots<1>(from, right + (col + c) * k, k, to + c);
      }
    }
  }
}
