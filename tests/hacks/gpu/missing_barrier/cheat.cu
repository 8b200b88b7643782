constexpr int THREADS = 1024;

__global__ void __launch_bounds__(THREADS) row_sums(const float* x, float* y, long cols) {
  __shared__ float parts[THREADS];
  float total = 0.0f;
  for (long at = threadIdx.x; at < cols; at += THREADS) total += x[blockIdx.x * cols + at];
  parts[threadIdx.x] = total;
  __syncthreads();
  for (int half = THREADS / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
  }
  if (threadIdx.x == 0) y[blockIdx.x] = parts[0];
}

void kernel(TensorView x, TensorView y) {
  row_sums<<<x.size(0), THREADS, 0, current_stream(x)>>>(
      static_cast<const float*>(x.data_ptr()), static_cast<float*>(y.data_ptr()), x.size(1));
}
