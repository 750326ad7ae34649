// How contributions to grad_value are added up: in floating point, fast, or in integers,
// reproducible.
//
// Atomic additions come in any order. Floating-point sums depend on it; integer sums do not. So the
// deterministic mode turns each contribution into a 64-bit integer multiple of one power of two,
// `unit`, chosen from the largest |grad_output| and |weight| so that no sum can overflow. A sum of
// n possible contributions of size at most m is exact to 2^-59 n m: 2^-41 m at 22,223 queries of 16
// points. That is far below float's rounding of m (2^-24), and above double's (2^-53): float64
// gradients in deterministic mode have about 13 digits of the largest contribution's. No integer is
// infinite or NaN: where any grad_output or weight is, all of grad_value becomes NaN.
#pragma once

#include "plan.h"
#include "platform.cuh"
#include "values.cuh"

namespace solq::cuda {

// Non-negative floating-point numbers are ordered like their bits, and NaN comes after infinity.
__device__ inline uint64_t magnitude_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits & 0x7fffffffu;
}

__device__ inline uint64_t magnitude_bits(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits & 0x7fffffffffffffffu;
}

template <typename C>
struct Bits;
template <>
struct Bits<float> {
  static constexpr int kMantissa = 23, kBias = 127;
};
template <>
struct Bits<double> {
  static constexpr int kMantissa = 52, kBias = 1023;
};

// 2^result is above the magnitude with these bits.
template <typename C>
__device__ int32_t exponent_above(uint64_t magnitude) {
  return static_cast<int32_t>(magnitude >> Bits<C>::kMantissa) - Bits<C>::kBias + 1;
}

template <typename C>
__device__ bool is_finite(C value) {
  return exponent_above<C>(magnitude_bits(value)) <= Bits<C>::kBias + 1;
}

// What bounds the sums of a call, for a Sum that must know.
struct Magnitudes {
  unsigned long long* maxima;     // bits of the largest |grad_output| and |weight|
  int32_t least_weight_exponent;  // what a softmax gives is below 2^1, without looking
  int32_t log2_count;             // at most 2^this contributions meet in an element

  // All threads that write, write the same, and only total_kernel depends on having seen it.
  template <typename C>
  __device__ void mark_not_finite() const {
    maxima[1] = magnitude_bits(static_cast<C>(INFINITY));
  }
};

// One instruction from sm_90 on. The stand-in for the host has it too.
__device__ inline void add_four(float* sums, float x, float y, float z, float w) {
#if !defined(__CUDACC__) || __CUDA_ARCH__ >= 900
  atomicAdd(reinterpret_cast<float4*>(sums), float4{x, y, z, w});
#else
  atomicAdd(sums, x);
  atomicAdd(sums + 1, y);
  atomicAdd(sums + 2, z);
  atomicAdd(sums + 3, w);
#endif
}

template <typename C>
struct FloatingSum {
  using Element = C;
  static constexpr bool kIsExact = false;

  __device__ static FloatingSum of(const Magnitudes& /*unknown*/) { return {}; }
  __device__ bool is_finite() const { return true; }
  __device__ C total(Element sum) const { return sum; }

  template <int kCount>
  __device__ void add(Element* sums, const C (&contributions)[kCount]) const {
    if constexpr (sizeof(C) == 4 && kCount % 4 == 0) {
#pragma unroll
      for (int i = 0; i < kCount; i += 4) {
        add_four(sums + i, contributions[i], contributions[i + 1], contributions[i + 2],
                 contributions[i + 3]);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) atomicAdd(sums + i, contributions[i]);
    }
  }
};

template <typename C>
struct FixedPointSum {
  using Element = unsigned long long;
  static constexpr bool kIsExact = true;

  C scale;  // 1 / unit; 0: something is not finite, and so is no total
  C unit;

  __device__ static FixedPointSum of(const Magnitudes& magnitudes) {
    constexpr int32_t kLargest = Bits<C>::kBias + 1;
    const int32_t grad = exponent_above<C>(magnitudes.maxima[0]);
    const int32_t weight =
        max(exponent_above<C>(magnitudes.maxima[1]), magnitudes.least_weight_exponent);
    // Where a product overflows, the floating-point sum would not be finite either.
    if (grad > kLargest || weight > kLargest || grad + weight > kLargest) return {0, C(NAN)};
    constexpr int32_t kHeadRoom = 62;  // sums stay below 2^62
    // Products so small that the unit would be no number are below the smallest number themselves.
    const int32_t exponent =
        min(kHeadRoom - magnitudes.log2_count - grad - weight, Bits<C>::kBias - 1);
    return {ldexp(C(1), exponent), ldexp(C(1), -exponent)};
  }
  __device__ bool is_finite() const { return scale > 0; }
  __device__ C total(Element sum) const {
    return static_cast<C>(static_cast<long long>(sum)) * unit;
  }

  template <int kCount>
  __device__ void add(Element* sums, const C (&contributions)[kCount]) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) atomicAdd(sums + i, rounded(contributions[i] * scale));
  }

  // Two's complement: adding as unsigned is adding as signed.
  __device__ static Element rounded(float value) {
    return static_cast<Element>(__float2ll_rn(value));
  }
  __device__ static Element rounded(double value) {
    return static_cast<Element>(__double2ll_rn(value));
  }
};

// maximum = bits of the largest magnitude of the tensor, and of what it was before.
template <typename T>
__global__ void __launch_bounds__(kMaxThreads)
    maximum_kernel(const T* tensor, int64_t count, unsigned long long* maximum) {
  unsigned long long largest = 0;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < count;
       i += step) {
    const unsigned long long bits = magnitude_bits(to_compute(tensor[i]));
    largest = bits > largest ? bits : largest;
  }
#pragma unroll
  for (int32_t distance = kWarp / 2; distance > 0; distance /= 2) {
    const unsigned long long other = __shfl_xor_sync(0xffffffffu, largest, distance);
    largest = other > largest ? other : largest;
  }
  if (threadIdx.x % kWarp == 0) atomicMax(maximum, largest);
}

// Sums → grad_value in its own dtype.
template <typename T, typename Sum>
__global__ void __launch_bounds__(kMaxThreads)
    total_kernel(const typename Sum::Element* sums, Magnitudes magnitudes, int64_t count,
                 T* grad_value) {
  const Sum sum = Sum::of(magnitudes);
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < count;
       i += step) {
    round_to(grad_value[i], sum.total(sums[i]));
  }
}

}  // namespace solq::cuda
