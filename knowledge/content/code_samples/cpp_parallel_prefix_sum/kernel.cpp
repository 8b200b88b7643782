// Prefix sum by all threads in one parallel region: each sums its part, a barrier, then each scans its part from what
// came before it.
// kernelevolve: flags -O3 -march=native
#include <algorithm>
#include <omp.h>
#include <vector>

struct alignas(64) Padded {  // a cache line of its own: neighbours that write to one line slow each other down
  int64_t sum;
};

void kernel(TensorView x, TensorView out) {
  const int64_t count = x.numel();
  const int64_t* in = static_cast<const int64_t*>(x.data_ptr());
  int64_t* to = static_cast<int64_t*>(out.data_ptr());
  std::vector<Padded> parts(omp_get_max_threads());

#pragma omp parallel if (count > 65536)
  {
    // Bounds by hand instead of `omp for`: both passes must give the same part to the same thread, which then finds
    // the end of its input still in its cache.
    const int64_t threads = omp_get_num_threads(), me = omp_get_thread_num();
    const int64_t part = (count + threads - 1) / threads;
    const int64_t begin = std::min(me * part, count), end = std::min(begin + part, count);

    // This pass has no chain of dependences: integer sums are vectorised, and it runs at the speed of memory.
    int64_t sum = 0;
    for (int64_t at = begin; at < end; ++at) sum += in[at];
    parts[me].sum = sum;
#pragma omp barrier
    // Few numbers: every thread adds up those before its own. Cheaper than a second barrier after a serial scan.
    int64_t running = 0;
    for (int64_t before = 0; before < me; ++before) running += parts[before].sum;
    for (int64_t at = begin; at < end; ++at) {
      running += in[at];
      to[at] = running;
    }
  }
}
