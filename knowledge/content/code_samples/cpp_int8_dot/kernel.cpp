// Dot products of 8-bit integers in the form that compilers turn into the processor's own instruction (vpdpbusd on x86
// with VNNI): unsigned times signed, four neighbours added into one 32-bit lane.
// kernelevolve: flags -O3 -march=native
#include <algorithm>

constexpr int64_t kCols = 4;  // results that share one walk along a row of x: four independent chains of additions

// One result; also the form that the vectoriser knows: factors are widened to int before they are multiplied, and the
// sum is an int. Integer addition may be reordered freely, so no flag has to allow it.
static inline int32_t dot(const uint8_t* x, const int8_t* w, int64_t k) {
  int32_t sum = 0;
  for (int64_t d = 0; d < k; ++d) sum += static_cast<int32_t>(x[d]) * static_cast<int32_t>(w[d]);
  return sum;
}

// Four results in one loop, with four variables: an array of sums and a loop over columns would become four walks.
static inline void four_dots(const uint8_t* x, const int8_t* w, int64_t k, int32_t* out) {
  const int8_t *w0 = w, *w1 = w + k, *w2 = w + 2 * k, *w3 = w + 3 * k;
  int32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
  for (int64_t d = 0; d < k; ++d) {
    const int32_t value = x[d];
    sum0 += value * static_cast<int32_t>(w0[d]);
    sum1 += value * static_cast<int32_t>(w1[d]);
    sum2 += value * static_cast<int32_t>(w2[d]);
    sum3 += value * static_cast<int32_t>(w3[d]);
  }
  out[0] = sum0, out[1] = sum1, out[2] = sum2, out[3] = sum3;
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
        four_dots(from, right + col * k, k, to);
      } else {
        for (int64_t c = 0; c < cols; ++c) to[c] = dot(from, right + (col + c) * k, k);
      }
    }
  }
}
