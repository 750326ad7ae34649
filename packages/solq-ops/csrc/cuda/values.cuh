// Values in memory and in arithmetic: 16-bit and float values are computed in float, double in
// double.
#pragma once

#include "../problem.h"
#include "platform.cuh"

namespace solq::cuda {

template <typename T>
struct ComputeOf {
  using type = float;
};
template <>
struct ComputeOf<double> {
  using type = double;
};
template <typename T>
using Compute = typename ComputeOf<T>::type;

__device__ inline double to_compute(double value) { return value; }
__device__ inline float to_compute(float value) { return value; }
__device__ inline float to_compute(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline float to_compute(__half value) { return __half2float(value); }

__device__ inline void round_to(double& target, double value) { target = value; }
__device__ inline void round_to(float& target, float value) { target = value; }
__device__ inline void round_to(__nv_bfloat16& target, float value) {
  target = __float2bfloat16_rn(value);
}
__device__ inline void round_to(__half& target, float value) { target = __float2half_rn(value); }

// Weights and offsets have the dtype of the values or of the arithmetic, which is the same for all
// threads of a launch: a branch costs less than twice as many kernels.
template <typename T>
__host__ __device__ bool aux_is_compute(const Problem& problem) {
  return sizeof(T) == sizeof(Compute<T>) || problem.aux_dtype == Dtype::kFloat32;
}

template <typename T>
__device__ Compute<T> load_aux(const void* tensor, int64_t index, bool is_compute) {
  if (is_compute) return __ldg(static_cast<const Compute<T>*>(tensor) + index);
  return to_compute(static_cast<const T*>(tensor)[index]);
}

template <typename T>
__device__ void store_aux(void* tensor, int64_t index, bool is_compute, Compute<T> value) {
  if (is_compute) {
    static_cast<Compute<T>*>(tensor)[index] = value;
  } else {
    round_to(static_cast<T*>(tensor)[index], value);
  }
}

// With 32-bit factors the address is one multiply-add.
template <typename Element>
__device__ Element* advance(Element* first, int32_t steps, int32_t step_bytes) {
  const int64_t bytes = static_cast<int64_t>(steps) * step_bytes;
  return reinterpret_cast<Element*>(reinterpret_cast<uintptr_t>(first) + bytes);
}

template <typename C>
struct alignas(16) Four {
  C x, y, z, w;
};

template <int kBytes>
struct RawOf;
template <>
struct RawOf<16> {
  using type = uint4;
};
template <>
struct RawOf<8> {
  using type = uint2;
};
template <>
struct RawOf<4> {
  using type = unsigned int;
};
template <>
struct RawOf<2> {
  using type = unsigned short;
};

// What one access moves.
template <typename T, int kBytes>
struct Chunk {
  static constexpr int kElements = kBytes / sizeof(T);
  using Raw = typename RawOf<kBytes>::type;

  Raw raw{};  // zeros

  // Through the read-only path: nobody writes what is loaded by chunks.
  __device__ void load(const T* address) { raw = __ldg(reinterpret_cast<const Raw*>(address)); }
  __device__ void store(T* address) const { *reinterpret_cast<Raw*>(address) = raw; }

  __device__ void unpack(Compute<T> (&values)[kElements]) const {
    T elements[kElements];
    memcpy(elements, &raw, kBytes);
#pragma unroll
    for (int i = 0; i < kElements; ++i) values[i] = to_compute(elements[i]);
  }

  __device__ void pack(const Compute<T> (&values)[kElements]) {
    T elements[kElements];
#pragma unroll
    for (int i = 0; i < kElements; ++i) round_to(elements[i], values[i]);
    memcpy(&raw, elements, kBytes);
  }
};

}  // namespace solq::cuda
