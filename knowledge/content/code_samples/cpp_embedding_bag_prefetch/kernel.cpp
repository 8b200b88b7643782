// Embedding bag that asks for rows before it needs them: the indices are known, so the addresses are too.
// kernelevolve: flags -O3 -march=native
#include <algorithm>

constexpr int64_t kAhead = 8;  // lookups between a prefetch and its use: about latency / time for one row
constexpr int64_t kLine = 16;  // floats of a cache line
typedef float Line __attribute__((vector_size(64), aligned(4)));

// Sums `Lines` lines of each row over one bag. With vectors in place of an inner loop the compiler cannot choose to
// vectorise over lookups instead, which would gather; and the sums stay in registers, as their number is fixed.
template <int64_t Lines>
static inline void pool(const float* table, const int64_t* indices, int64_t begin, int64_t end, int64_t total,
                        int64_t dim, float* to) {
  Line sums[Lines] = {};
  for (int64_t at = begin; at < end; ++at) {
    // Hardware prefetchers follow strides; random rows have none. Looking past the bag's end is meant: the next bag
    // continues there, so its first rows are on their way before it begins.
    if (at + kAhead < total) {
      const float* later = table + indices[at + kAhead] * dim;
      for (int64_t line = 0; line < Lines; ++line) __builtin_prefetch(later + line * kLine, /*rw=*/0, /*locality=*/3);
    }
    const float* row = table + indices[at] * dim;
    for (int64_t line = 0; line < Lines; ++line) sums[line] += *reinterpret_cast<const Line*>(row + line * kLine);
  }
  for (int64_t line = 0; line < Lines; ++line) *reinterpret_cast<Line*>(to + line * kLine) = sums[line];
}

void kernel(TensorView table, TensorView indices, TensorView offsets, TensorView out) {
  const int64_t dim = table.size(1), total = indices.numel(), bags = offsets.numel() - 1;
  const float* rows = static_cast<const float*>(table.data_ptr());
  const int64_t* ids = static_cast<const int64_t*>(indices.data_ptr());
  const int64_t* bounds = static_cast<const int64_t*>(offsets.data_ptr());
  float* output = static_cast<float*>(out.data_ptr());

  // Bags differ in length, so threads take small chunks as they come; `static` would wait for the unluckiest.
#pragma omp parallel for schedule(dynamic, 16) if (total * dim > 32768)
  for (int64_t bag = 0; bag < bags; ++bag) {
    const int64_t begin = bounds[bag], end = bounds[bag + 1];
    float* to = output + bag * dim;
    int64_t col = 0;
    for (; col + 4 * kLine <= dim; col += 4 * kLine) pool<4>(rows + col, ids, begin, end, total, dim, to + col);
    for (; col + kLine <= dim; col += kLine) pool<1>(rows + col, ids, begin, end, total, dim, to + col);
    for (; col < dim; ++col) {
      float sum = 0.0f;
      for (int64_t at = begin; at < end; ++at) sum += rows[ids[at] * dim + col];
      to[col] = sum;
    }
  }
}
