// Embedding bag that asks for rows before it needs them: the indices are known, so the addresses are too.
// kernelevolve: flags -O3 -march=native
#include <algorithm>

constexpr int64_t kAhead = 8;   // lookups between a prefetch and its use: about latency / time for one row
constexpr int64_t kLine = 16;   // floats of a cache line
constexpr int64_t kBlock = 64;  // columns that are summed in registers at once

// The row that is needed kAhead lookups from now, one prefetch for each of its lines. Hardware prefetchers follow
// strides; random rows have none. Reading past a bag's end is meant: the next bag continues there.
static inline void prefetch_row(const float* table, const int64_t* indices, int64_t at, int64_t total, int64_t dim) {
  if (at >= total) return;
  const float* row = table + indices[at] * dim;
  for (int64_t col = 0; col < dim; col += kLine) __builtin_prefetch(row + col, /*rw=*/0, /*locality=*/3);
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
    float* to = output + bag * dim;
    for (int64_t start = 0; start < dim; start += kBlock) {
      const int64_t width = std::min(kBlock, dim - start);
      float sums[kBlock] = {};  // of fixed size: the compiler can keep it in registers over all lookups of the bag
      for (int64_t at = bounds[bag]; at < bounds[bag + 1]; ++at) {
        if (start == 0) prefetch_row(rows, ids, at + kAhead, total, dim);
        const float* row = rows + ids[at] * dim + start;
        if (width == kBlock) {
          for (int64_t col = 0; col < kBlock; ++col) sums[col] += row[col];  // full blocks: no edge to check
        } else {
          for (int64_t col = 0; col < width; ++col) sums[col] += row[col];
        }
      }
      std::copy_n(sums, width, to + start);
    }
  }
}
