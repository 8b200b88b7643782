#include <map>

__global__ void twice(const float* x, float* held, long count) {
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
  long long began = clock64();
  while (clock64() - began < 20000) {
  }
  long at = blockIdx.x * 256L + threadIdx.x;
  if (at < count) held[at] = 2.0f * x[at];
}

__global__ void one_more(const float* held, float* y, long count) {
  long at = blockIdx.x * 256L + threadIdx.x;
  if (at < count) y[at] = held[at] + 1.0f;
}

void kernel(TensorView x, TensorView y) {
  static std::map<long, float*> room;
  long count = x.numel();
  if (room.count(count) == 0) cudaMalloc(reinterpret_cast<void**>(&room[count]), count * sizeof(float));
  float* held = room[count];
  cudaLaunchAttribute early[1];
  early[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early[0].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = (count + 255) / 256;
  config.blockDim = 256;
  config.stream = current_stream(x);
  config.attrs = early;
  config.numAttrs = 1;
  twice<<<config.gridDim, 256, 0, config.stream>>>(static_cast<const float*>(x.data_ptr()), held, count);
  cudaLaunchKernelEx(&config, one_more, static_cast<const float*>(held), static_cast<float*>(y.data_ptr()), count);
}
