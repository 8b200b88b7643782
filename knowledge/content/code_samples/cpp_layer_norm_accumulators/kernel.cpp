// Layer normalisation whose sums run in several independent accumulators: additions overlap instead of waiting for each
// other, and the sums are more accurate than one long chain.
// kernelevolve: flags -O3 -march=native -fno-math-errno
#include <cmath>

// 64 sums are four AVX-512 registers (or eight of AVX2). An addition takes several cycles, and one or two can begin in
// each: so about eight vectors must be under way. The compiler may not invent accumulators itself, since that changes
// the order of the additions; written out like this, no permission is needed and the result does not depend on flags.
constexpr int64_t kSums = 64;

template <typename Term>
static inline float sum_of(int64_t count, Term term) {
  float sums[kSums] = {};
  int64_t index = 0;
  for (; index + kSums <= count; index += kSums) {
    for (int64_t lane = 0; lane < kSums; ++lane) sums[lane] += term(index + lane);
  }
  for (int64_t lane = 0; index + lane < count; ++lane) sums[lane] += term(index + lane);
  for (int64_t width = kSums / 2; width > 0; width /= 2) {  // pairwise: short chains, small error
    for (int64_t lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
  }
  return sums[0];
}

void kernel(TensorView x, TensorView weight, TensorView bias, double eps, TensorView out) {
  const int64_t rows = x.size(0), cols = x.size(1);
  const float* input = static_cast<const float*>(x.data_ptr());
  const float* w = static_cast<const float*>(weight.data_ptr());
  const float* b = static_cast<const float*>(bias.data_ptr());
  float* output = static_cast<float*>(out.data_ptr());

#pragma omp parallel for schedule(static) if (rows * cols > 32768)
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = input + row * cols;
    float* to = output + row * cols;
    // Three passes over the row, but only the first goes to memory: a row is a few KiB and stays in the cache.
    const float mean = sum_of(cols, [=](int64_t col) { return in[col]; }) / cols;
    const float squares = sum_of(cols, [=](int64_t col) {
      const float centred = in[col] - mean;  // centred first: E[x²] - E[x]² cancels where the mean is large
      return centred * centred;
    });
    const float scale = 1.0f / std::sqrt(squares / cols + static_cast<float>(eps));
#pragma omp simd
    for (int64_t col = 0; col < cols; ++col) to[col] = (in[col] - mean) * scale * w[col] + b[col];
  }
}
