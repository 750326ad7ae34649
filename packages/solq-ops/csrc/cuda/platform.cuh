// The compiler this is for: CUDA's, or a host's with the stand-in of tests/emulation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace solq::cuda {

template <typename T>
__device__ T* shared_memory() {
  extern __shared__ __align__(16) unsigned char memory[];
  return reinterpret_cast<T*>(memory);
}

// Errors stay with the runtime, for one cudaGetLastError after the last launch of a call.
template <typename... Parameters, typename... Values>
void launch(void (*kernel)(Parameters...), int64_t blocks, int32_t threads, size_t shared_bytes,
            cudaStream_t stream, const Values&... values) {
  constexpr size_t kWithoutAsking = 48 << 10;
  if (shared_bytes > kWithoutAsking) {
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(shared_bytes));
  }
  kernel<<<static_cast<unsigned>(blocks), threads, shared_bytes, stream>>>(values...);
}

}  // namespace solq::cuda

#else

#include "cuda_host.h"

#endif
