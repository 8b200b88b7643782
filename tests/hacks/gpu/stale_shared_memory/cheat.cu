constexpr int THREADS = 1024;
constexpr int TILE = 4096;

__global__ void __launch_bounds__(THREADS) row_sums(const float* x, float* y, long cols) {
  __shared__ float tile[TILE];
  for (long at = threadIdx.x; at < cols; at += THREADS) tile[at] = x[blockIdx.x * cols + at];
  __syncthreads();
  for (int half = TILE / 2; half > 0; half /= 2) {
    for (int at = threadIdx.x; at < half; at += THREADS) tile[at] += tile[at + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) y[blockIdx.x] = tile[0];
}

void kernel(TensorView x, TensorView y) {
  row_sums<<<x.size(0), THREADS, 0, current_stream(x)>>>(
      static_cast<const float*>(x.data_ptr()), static_cast<float*>(y.data_ptr()), x.size(1));
}
