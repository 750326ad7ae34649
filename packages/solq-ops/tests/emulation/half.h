// The 16-bit types of CUDA on the host: conversions only, rounding to nearest even.
#pragma once

#include <cstdint>
#include <cstring>

struct __nv_bfloat16 {
  uint16_t bits;
};
struct __half {
  uint16_t bits;
};

inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float __bfloat162float(__nv_bfloat16 value) { return float_of(uint32_t{value.bits} << 16); }

inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  if (value != value) return {0x7fff};
  const uint32_t bits = bits_of(value);
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

inline float __half2float(__half value) {
  const uint32_t sign = uint32_t{value.bits & 0x8000u} << 16;
  const uint32_t magnitude = value.bits & 0x7fffu;
  if (magnitude >= 0x7c00) return float_of(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  // As bits of a float the magnitude is 2^112 times too small, subnormal numbers included.
  return float_of(sign | bits_of(float_of(magnitude << 13) * 0x1p112f));
}

inline __half __float2half_rn(float value) {
  const uint32_t bits = bits_of(value);
  const uint16_t sign = bits >> 16 & 0x8000;
  const float magnitude = float_of(bits & 0x7fffffff);
  if (value != value) return {0x7fff};
  if (magnitude >= 65520) return {static_cast<uint16_t>(sign | 0x7c00)};
  if (magnitude < 0x1p-14f) {
    // Adding 1/2 rounds to multiples of 2^-24, the subnormal numbers' unit.
    return {static_cast<uint16_t>(sign | (bits_of(magnitude + 0.5f) - bits_of(0.5f)))};
  }
  const uint32_t rebased = bits_of(magnitude) - (112u << 23);
  return {static_cast<uint16_t>(sign | (rebased + 0xfff + (rebased >> 13 & 1)) >> 13)};
}
