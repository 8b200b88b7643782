// Matrix product: B is packed into panels that lie in order, and a tile of the result lives in registers over all of a
// block of K. The vector type is GCC's own: the same source, without intrinsics, for every width.
// kernelevolve: flags -O3 -march=native
#include <algorithm>
#include <memory>

#ifdef __AVX512F__
constexpr int64_t kLanes = 16;
#else
constexpr int64_t kLanes = 8;
#endif
typedef float Lanes __attribute__((vector_size(kLanes * 4), aligned(4)));  // aligned(4): loads may be unaligned
constexpr int64_t kRows = 6, kVectors = 2, kCols = kVectors * kLanes;  // 12 accumulators, plus B and one element of A
constexpr int64_t kDepth = 256;  // a panel of B, kDepth * kCols floats, has at most 32 KiB: it stays close for all rows

// out[rows × cols] += a[rows × depth] · panel. The panel is padded to full vectors: the loop knows nothing of edges.
template <int64_t Rows>
static void micro_kernel(const float* a, int64_t lda, const float* panel, int64_t depth, float* out, int64_t ldo,
                         int64_t cols) {
  Lanes sums[Rows][kVectors] = {};
  for (int64_t d = 0; d < depth; ++d) {
    const Lanes* b = reinterpret_cast<const Lanes*>(panel + d * kCols);
    for (int64_t r = 0; r < Rows; ++r) {  // fixed counts: both loops are unrolled, `sums` never touches memory
      for (int64_t v = 0; v < kVectors; ++v) sums[r][v] += a[r * lda + d] * b[v];
    }
  }
  for (int64_t r = 0; r < Rows; ++r) {
    const float* from = reinterpret_cast<const float*>(sums[r]);
    for (int64_t c = 0; c < cols; ++c) out[r * ldo + c] += from[c];
  }
}

void kernel(TensorView a, TensorView b, TensorView out) {
  const int64_t m = a.size(0), k = a.size(1), n = b.size(1), panels = (n + kCols - 1) / kCols;
  const float* left = static_cast<const float*>(a.data_ptr());
  const float* right = static_cast<const float*>(b.data_ptr());
  float* output = static_cast<float*>(out.data_ptr());
  std::fill(output, output + m * n, 0.0f);
  std::unique_ptr<float[]> packed(new float[panels * kCols * kDepth]);

  for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
    const int64_t depth = std::min(kDepth, k - k0);
    // A panel's rows are n floats apart in B: each is another page, and strides that are powers of two fall into the
    // same few cache sets. Packed, they are one stream. Each thread packs what it multiplies with.
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t cols = std::min(kCols, n - p * kCols);
      float* panel = packed.get() + p * kCols * kDepth;
      for (int64_t d = 0; d < depth; ++d) {
        std::copy_n(right + (k0 + d) * n + p * kCols, cols, panel + d * kCols);
        std::fill(panel + d * kCols + cols, panel + (d + 1) * kCols, 0.0f);
      }
      const float* from = left + k0;
      float* to = output + p * kCols;
      int64_t row = 0;
      for (; row + kRows <= m; row += kRows) {
        micro_kernel<kRows>(from + row * k, k, panel, depth, to + row * n, n, cols);
      }
      for (; row < m; ++row) micro_kernel<1>(from + row * k, k, panel, depth, to + row * n, n, cols);
    }
  }
}
