// Prints what CUDA's own calculator says: limits and cases on stdin, resident blocks on stdout.
#include <cuda_occupancy.h>

#include <cstdio>

int main() {
  int major, minor, threads_per_sm, shared_per_sm, registers, shared, block;
  while (std::scanf("%d %d %d %d %d %d %d", &major, &minor, &threads_per_sm, &shared_per_sm, &registers, &shared,
                    &block) == 7) {
    cudaOccDeviceProp device;
    device.computeMajor = major;
    device.computeMinor = minor;
    device.maxThreadsPerBlock = 1024;
    device.maxThreadsPerMultiprocessor = threads_per_sm;
    device.regsPerBlock = 65536;
    device.regsPerMultiprocessor = 65536;
    device.warpSize = 32;
    device.reservedSharedMemPerBlock = 1024;
    device.sharedMemPerBlock = 48 * 1024;
    device.sharedMemPerMultiprocessor = shared_per_sm;
    device.sharedMemPerBlockOptin = shared_per_sm - 1024;
    device.numSms = 1;
    cudaOccFuncAttributes function;
    function.maxThreadsPerBlock = 1024;
    function.numRegs = registers;
    function.sharedSizeBytes = 0;
    function.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    function.maxDynamicSharedSizeBytes = shared;
    function.numBlockBarriers = 1;
    cudaOccDeviceState state;
    state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
    cudaOccResult result;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state, block, shared)) return 1;
    std::printf("%d\n", result.activeBlocksPerMultiprocessor);
  }
}
