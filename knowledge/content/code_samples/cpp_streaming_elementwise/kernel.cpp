// A fused chain of element-wise operators whose results go past the caches (non-temporal stores).
// kernelevolve: flags -O3 -march=native
#include <immintrin.h>

#include <algorithm>

// Larger results than this cannot stay in a cache until somebody reads them; smaller ones should.
constexpr int64_t kStreamBytes = 8 << 20;
constexpr int64_t kLine = 16;      // floats of a cache line
constexpr int64_t kChunk = 65536;  // elements that a thread takes at once, a multiple of kLine
typedef float Line __attribute__((vector_size(64), aligned(4)));  // a line in registers: one of AVX-512, two of AVX2

// For a float and for a whole line alike: operators and `?:` work lane by lane on GCC's vectors.
template <typename Value>
static inline Value chain(Value x, Value gate, Value residual) {
  const Value scaled = x * gate * 0.5f;
  // Written so that NaN passes: a comparison with NaN is false, and then the value itself is kept.
  const Value low = scaled < -1.0f ? Value{} - 1.0f : scaled;
  return (low > 1.0f ? Value{} + 1.0f : low) + residual;
}

static inline Line at_line(const float* from) { return *reinterpret_cast<const Line*>(from); }

void kernel(TensorView x, TensorView gate, TensorView residual, TensorView out) {
  const int64_t count = x.numel();
  const float* a = static_cast<const float*>(x.data_ptr());
  const float* g = static_cast<const float*>(gate.data_ptr());
  const float* r = static_cast<const float*>(residual.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  const bool stream = count * static_cast<int64_t>(sizeof(float)) > kStreamBytes;
  // Streaming stores need aligned addresses: the first few elements are done apart, up to a line of the output.
  const int64_t misaligned = reinterpret_cast<uintptr_t>(to) / sizeof(float) % kLine;
  const int64_t head = std::min(count, misaligned ? kLine - misaligned : 0);
  for (int64_t at = 0; at < head; ++at) to[at] = chain(a[at], g[at], r[at]);

#pragma omp parallel for schedule(static) if (count > 32768)
  for (int64_t start = head; start < count; start += kChunk) {
    const int64_t end = std::min(start + kChunk, count);
    int64_t at = start;
    // A normal store first fetches the line that it is about to overwrite. A streaming store writes it straight out if
    // all of the line comes at once: so a whole line is computed in registers, then stored by consecutive stores.
    for (; stream && at + kLine <= end; at += kLine) {
      const Line line = chain(at_line(a + at), at_line(g + at), at_line(r + at));
      const __m128* quarters = reinterpret_cast<const __m128*>(&line);
      for (int64_t quarter = 0; quarter < 4; ++quarter) _mm_stream_ps(to + at + 4 * quarter, quarters[quarter]);
    }
    for (; at < end; ++at) to[at] = chain(a[at], g[at], r[at]);
    _mm_sfence();  // streaming stores are weakly ordered: make them visible before this thread reports that it is done
  }
}
