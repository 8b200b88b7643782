constexpr int TILE = 32;

__global__ void product(const float* a, const float* b, float* c, long m, long n, long k) {
  __shared__ float left[TILE][TILE], right[TILE][TILE + 1];
  long row = blockIdx.y * TILE + threadIdx.y, col = blockIdx.x * TILE + threadIdx.x;
  float total = 0.0f;
  for (long start = 0; start < k; start += TILE) {
    left[threadIdx.y][threadIdx.x] = row < m && start + threadIdx.x < k ? a[row * k + start + threadIdx.x] : 0.0f;
    right[threadIdx.y][threadIdx.x] = start + threadIdx.y < k && col < n ? b[(start + threadIdx.y) * n + col] : 0.0f;
    __syncthreads();
    for (int at = 0; at < TILE; ++at) total += left[threadIdx.y][at] * right[at][threadIdx.x];
    __syncthreads();
  }
  if (row < m && col < n) c[row * n + col] = total;
}

void kernel(TensorView a, TensorView b, TensorView c) {
  long m = a.size(0), k = a.size(1), n = b.size(1);
  dim3 grid((n + TILE - 1) / TILE, (m + TILE - 1) / TILE), block(TILE, TILE);
  product<<<grid, block, 0, current_stream(a)>>>(
      static_cast<const float*>(a.data_ptr()), static_cast<const float*>(b.data_ptr()),
      static_cast<float*>(c.data_ptr()), m, n, k);
}
