// Planted: the tile has rows of 32 floats, so a column of it lies in one bank, and a warp that reads a column is served
// one lane after another.

constexpr int kTile = 32;
constexpr int kRowsAtOnce = 8;

__global__ void __launch_bounds__(256)
transpose(const float* __restrict__ from, float* __restrict__ to, int rows, int cols) {
  __shared__ float tile[kTile][kTile];
  int col = blockIdx.x * kTile + threadIdx.x;
  int row = blockIdx.y * kTile + threadIdx.y;
  for (int step = 0; step < kTile; step += kRowsAtOnce) {
    if (col < cols && row + step < rows) {
      tile[threadIdx.y + step][threadIdx.x] = from[int64_t(row + step) * cols + col];
    }
  }
  __syncthreads();
  int out_col = blockIdx.y * kTile + threadIdx.x;
  int out_row = blockIdx.x * kTile + threadIdx.y;
  for (int step = 0; step < kTile; step += kRowsAtOnce) {
    if (out_col < rows && out_row + step < cols) {
      to[int64_t(out_row + step) * rows + out_col] = tile[threadIdx.x][threadIdx.y + step];
    }
  }
}

void kernel(TensorView x, TensorView out) {
  int rows = int(x.size(0));
  int cols = int(x.size(1));
  dim3 grid((cols + kTile - 1) / kTile, (rows + kTile - 1) / kTile);
  dim3 block(kTile, kRowsAtOnce);
  transpose<<<grid, block, 0, current_stream(x)>>>(
      static_cast<const float*>(x.data_ptr()), static_cast<float*>(out.data_ptr()), rows, cols);
}
