// Transposed copy by tiles through a small buffer: whole cache lines are read and whole cache lines are written.
// kernelevolve: flags -O3 -march=native
#include <algorithm>

// 32 floats are two lines of 64 bytes. A tile and its copy take 8 KiB: both fit into any first-level cache.
constexpr int64_t kTile = 32;

void kernel(TensorView x, TensorView out) {
  const int64_t rows = x.size(0), cols = x.size(1);
  const float* input = static_cast<const float*>(x.data_ptr());
  float* output = static_cast<float*>(out.data_ptr());
  const int64_t tiles_down = (rows + kTile - 1) / kTile;
  const int64_t tiles_across = (cols + kTile - 1) / kTile;

  // `collapse` gives every thread whole tiles even where one dimension is short. The order makes a thread write along
  // rows of the output: scattered stores cost more than scattered loads, as each line has to be fetched before it is
  // changed.
#pragma omp parallel for collapse(2) schedule(static) if (rows * cols > 32768)
  for (int64_t across = 0; across < tiles_across; ++across) {
    for (int64_t down = 0; down < tiles_down; ++down) {
      const int64_t row = down * kTile, col = across * kTile;
      const int64_t height = std::min(kTile, rows - row), width = std::min(kTile, cols - col);
      // In the buffer the stride is one more than the tile. With a power of two, as matrices like to have, all
      // elements of a column would fall into the same few sets of the cache and push each other out.
      alignas(64) float tile[kTile][kTile + 1];
      for (int64_t r = 0; r < height; ++r) {
        std::copy_n(input + (row + r) * cols + col, width, tile[r]);
      }
      for (int64_t c = 0; c < width; ++c) {
        float* to = output + (col + c) * rows + row;
        for (int64_t r = 0; r < height; ++r) to[r] = tile[r][c];
      }
    }
  }
}
