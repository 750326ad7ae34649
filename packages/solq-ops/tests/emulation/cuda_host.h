// A stand-in for CUDA on the host, as much of it as the kernels use: their source, compiled by an
// ordinary compiler, then runs with the same grids, blocks, barriers and shuffles.
//
// The threads of a block are fibers that run one at a time, each until it waits at a barrier or a
// shuffle. Which goes on is drawn from a seed: what depends on the order between two barriers
// differs from seed to seed. A barrier that not all of its threads reach ends the program with a
// message, and shared memory starts as NaN.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "fibers.h"
#include "half.h"

#define __global__
#define __host__
#define __device__
#define __grid_constant__
#define __launch_bounds__(...)

using std::max;
using std::min;

struct uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

struct Dim3 {
  unsigned x = 1;
};
inline Dim3 threadIdx, blockIdx, blockDim, gridDim;

inline void __syncthreads() { emulation::wait_for_block(); }
inline void __syncwarp() { emulation::wait_for_warp("__syncwarp"); }

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
  emulation::require(mask == 0xffffffffu, "only whole warps are emulated");
  return emulation::exchange(value, threadIdx.x % 32 ^ distance);
}

template <typename T>
T __ldg(const T* address) {
  emulation::require(reinterpret_cast<uintptr_t>(address) % sizeof(T) == 0, "misaligned load");
  return *address;
}

// Fibers change places at barriers only, so plain additions are atomic.
template <typename T>
T atomicAdd(T* address, T value) {
  const T before = *address;
  *address += value;
  return before;
}
inline float4 atomicAdd(float4* address, float4 value) {
  emulation::require(reinterpret_cast<uintptr_t>(address) % 16 == 0, "misaligned atomicAdd");
  float* sums = reinterpret_cast<float*>(address);
  sums[0] += value.x;
  sums[1] += value.y;
  sums[2] += value.z;
  sums[3] += value.w;
  return {};
}
inline unsigned long long atomicMax(unsigned long long* address, unsigned long long value) {
  const unsigned long long before = *address;
  *address = std::max(before, value);
  return before;
}

inline long long __float2ll_rn(float value) { return std::llrint(value); }
inline long long __double2ll_rn(double value) { return std::llrint(value); }

using cudaStream_t = void*;
inline void cudaMemsetAsync(void* memory, int byte, size_t bytes, cudaStream_t) {
  std::memset(memory, byte, bytes);
}

namespace solq::cuda {

using std::exp;
using std::floor;
using std::fmax;
using std::ldexp;

template <typename T>
T* shared_memory() {
  return static_cast<T*>(emulation::shared_memory());
}

template <typename... Parameters, typename... Values>
void launch(void (*kernel)(Parameters...), int64_t blocks, int32_t threads, size_t shared_bytes,
            cudaStream_t, const Values&... values) {
  gridDim.x = static_cast<unsigned>(blocks);
  blockDim.x = static_cast<unsigned>(threads);
  for (unsigned block = 0; block < blocks; ++block) {
    blockIdx.x = block;
    emulation::run_block(threads, shared_bytes, threadIdx.x, [&] { kernel(values...); });
  }
}

}  // namespace solq::cuda
