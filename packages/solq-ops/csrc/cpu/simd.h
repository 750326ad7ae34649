// Vectors of a fixed number of lanes, by the vector extension of GCC and Clang: one source for
// SSE, AVX2, AVX-512 and NEON. SOLQ_VECTOR_BYTES and SOLQ_ISA come from the build.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__SSE__)
#include <immintrin.h>
#endif

// Every instruction set has its own namespace: the linker must never give one the inline functions
// of another.
namespace solq::SOLQ_ISA {

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

// The type positions and sums are computed in.
template <class T>
struct ComputeType {
  using type = float;
};
template <>
struct ComputeType<double> {
  using type = double;
};
template <class T>
using Compute = typename ComputeType<T>::type;

template <class Scalar, int lanes>
struct VectorType {
  typedef Scalar type __attribute__((vector_size(lanes * sizeof(Scalar))));
};
template <class Scalar>
struct VectorType<Scalar, 1> {
  using type = Scalar;
};
template <class Scalar, int lanes>
using Vector = typename VectorType<Scalar, lanes>::type;

template <class C>
constexpr int kLanes = SOLQ_VECTOR_BYTES / sizeof(C);

// Accumulators that fit the registers beside what is being loaded: 32 with AVX-512, else 16.
constexpr int kMaxVectors = SOLQ_VECTOR_BYTES == 64 ? 8 : 6;

template <class To, class From>
inline To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

template <class To, class From, int lanes>
inline Vector<To, lanes> convert(const Vector<From, lanes>& from) {
  if constexpr (lanes == 1) {
    return static_cast<To>(from);
  } else {
    return __builtin_convertvector(from, Vector<To, lanes>);
  }
}

// Values of any dtype as vectors of their compute type, from any address.
template <int lanes>
inline Vector<float, lanes> load(const float* from) {
  Vector<float, lanes> vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}
template <int lanes>
inline Vector<double, lanes> load(const double* from) {
  Vector<double, lanes> vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}
template <int lanes>
inline Vector<float, lanes> load(const BFloat16* from) {
  Vector<uint16_t, lanes> bits;
  std::memcpy(&bits, from, sizeof bits);
  return bit_cast<Vector<float, lanes>>(convert<uint32_t, uint16_t, lanes>(bits) << 16);
}
template <int lanes>
inline Vector<float, lanes> load(const Float16* from) {
#if defined(__AVX512F__)
  if constexpr (lanes == 16) {
    __m256i bits;
    std::memcpy(&bits, from, sizeof bits);
    return bit_cast<Vector<float, 16>>(_mm512_cvtph_ps(bits));
  }
#endif
#if defined(__F16C__)
  if constexpr (lanes == 8) {
    __m128i bits;
    std::memcpy(&bits, from, sizeof bits);
    return bit_cast<Vector<float, 8>>(_mm256_cvtph_ps(bits));
  }
#endif
  float values[lanes];
  for (int i = 0; i < lanes; ++i) {
    values[i] = static_cast<float>(bit_cast<_Float16>(from[i].bits));
  }
  return bit_cast<Vector<float, lanes>>(values);
}

// Vectors of the compute type, rounded to nearest even, to any address.
template <int lanes>
inline void store(float* to, const Vector<float, lanes>& vector) {
  std::memcpy(to, &vector, sizeof vector);
}
template <int lanes>
inline void store(double* to, const Vector<double, lanes>& vector) {
  std::memcpy(to, &vector, sizeof vector);
}
// Past the caches, to an address that is a multiple of the vector's size: for what is more than
// they hold, and would first be read into them.
template <int lanes>
inline void stream(float* to, const Vector<float, lanes>& vector) {
#if defined(__AVX512F__)
  if constexpr (lanes == 16) return _mm512_stream_ps(to, bit_cast<__m512>(vector));
#endif
#if defined(__AVX__)
  if constexpr (lanes == 8) return _mm256_stream_ps(to, bit_cast<__m256>(vector));
#endif
#if defined(__SSE__)
  if constexpr (lanes == 4) return _mm_stream_ps(to, bit_cast<__m128>(vector));
#endif
  store<lanes>(to, vector);
}
// Before another thread may read what was streamed.
inline void end_streams() {
#if defined(__SSE__)
  _mm_sfence();
#endif
}

// To the upper half of each lane.
template <int lanes>
inline Vector<uint32_t, lanes> round_to_bfloat16(const Vector<float, lanes>& vector) {
  const auto bits = bit_cast<Vector<uint32_t, lanes>>(vector);
  const auto is_nan = (bits & 0x7fffffff) > 0x7f800000;
  return is_nan ? bits | 0x400000 : bits + 0x7fff + ((bits >> 16) & 1);
}
template <int lanes>
inline void store(BFloat16* to, const Vector<float, lanes>& vector) {
  const auto halves = convert<uint16_t, uint32_t, lanes>(
      Vector<uint32_t, lanes>(round_to_bfloat16<lanes>(vector) >> 16));
  std::memcpy(to, &halves, sizeof halves);
}
template <int lanes>
inline void store(Float16* to, const Vector<float, lanes>& vector) {
#if defined(__AVX512F__)
  if constexpr (lanes == 16) {
    const __m256i bits = _mm512_cvtps_ph(bit_cast<__m512>(vector), _MM_FROUND_TO_NEAREST_INT);
    std::memcpy(to, &bits, sizeof bits);
    return;
  }
#endif
#if defined(__F16C__)
  if constexpr (lanes == 8) {
    const __m128i bits = _mm256_cvtps_ph(bit_cast<__m256>(vector), _MM_FROUND_TO_NEAREST_INT);
    std::memcpy(to, &bits, sizeof bits);
    return;
  }
#endif
  float values[lanes];
  std::memcpy(values, &vector, sizeof values);
  for (int i = 0; i < lanes; ++i) {
    to[i].bits = bit_cast<uint16_t>(static_cast<_Float16>(values[i]));
  }
}

// Two vectors at once, in whatever order of lanes is the quickest: that in which store_two takes
// them. A bfloat16 is the upper half of a float, so that the even and the odd ones of a register
// need one instruction each, where neighbours would have to be spread out first.
template <int lanes, class T>
inline void load_two(const T* from, Vector<Compute<T>, lanes>& first,
                     Vector<Compute<T>, lanes>& second) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    Vector<uint32_t, lanes> bits;
    std::memcpy(&bits, from, sizeof bits);
    first = bit_cast<Vector<float, lanes>>(bits << 16);
    second = bit_cast<Vector<float, lanes>>(bits & 0xffff0000);
  } else {
    first = load<lanes>(from);
    second = load<lanes>(from + lanes);
  }
}
template <int lanes, class T>
inline void store_two(T* to, const Vector<Compute<T>, lanes>& first,
                      const Vector<Compute<T>, lanes>& second) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    const Vector<uint32_t, lanes> bits =
        (round_to_bfloat16<lanes>(first) >> 16) | (round_to_bfloat16<lanes>(second) & 0xffff0000);
    std::memcpy(to, &bits, sizeof bits);
  } else {
    store<lanes>(to, first);
    store<lanes>(to + lanes, second);
  }
}

// A run of `count` vectors, by twos.
template <int lanes, int count, class T>
inline void load_run(const T* from, Vector<Compute<T>, lanes>* vectors) {
  for (int i = 0; i + 1 < count; i += 2)
    load_two<lanes>(from + i * lanes, vectors[i], vectors[i + 1]);
  if (count % 2 == 1) vectors[count - 1] = load<lanes>(from + (count - 1) * lanes);
}
template <int lanes, int count, class T>
inline void store_run(T* to, const Vector<Compute<T>, lanes>* vectors) {
  for (int i = 0; i + 1 < count; i += 2)
    store_two<lanes>(to + i * lanes, vectors[i], vectors[i + 1]);
  if (count % 2 == 1) store<lanes>(to + (count - 1) * lanes, vectors[count - 1]);
}

// x0 y0 x1 y1 ... in two vectors → all x and all y, and back.
template <class V, int... lane>
inline void split_pairs(const V& first, const V& second, V& x, V& y,
                        std::integer_sequence<int, lane...>) {
  x = __builtin_shufflevector(first, second, (2 * lane)...);
  y = __builtin_shufflevector(first, second, (2 * lane + 1)...);
}
template <class V, int... lane>
inline void join_pairs(const V& x, const V& y, V& first, V& second,
                       std::integer_sequence<int, lane...>) {
  constexpr int lanes = sizeof...(lane);
  first = __builtin_shufflevector(x, y, (lane / 2 + lane % 2 * lanes)...);
  second = __builtin_shufflevector(x, y, (lanes / 2 + lane / 2 + lane % 2 * lanes)...);
}

// What `join` makes of all lanes, by halves.
template <class C, int lanes, class Join>
inline C reduce(const Vector<C, lanes>& vector, Join&& join) {
  if constexpr (lanes == 1) {
    return vector;
  } else {
    Vector<C, lanes / 2> halves[2];
    std::memcpy(halves, &vector, sizeof vector);
    return reduce<C, lanes / 2>(join(halves[0], halves[1]), join);
  }
}

// One step of the sums below: lanes whose bit `step` is clear come from a, the others from b; each
// is added to the lane of the same vector that differs in this bit.
template <int step, class V, int... lane>
inline V add_halves(const V& a, const V& b, std::integer_sequence<int, lane...>) {
  constexpr int lanes = sizeof...(lane);
  return __builtin_shufflevector(a, b, ((lane & step) ? lane - step + lanes : lane)...) +
         __builtin_shufflevector(a, b, ((lane & step) ? lane + lanes : lane + step)...);
}

// Lane i of the result is the sum of the lanes of vectors[i]; the vectors are overwritten.
template <class C, int lanes, int step = lanes / 2>
inline Vector<C, lanes> sums_of_lanes(Vector<C, lanes>* vectors) {
  if constexpr (step == 0) {
    return vectors[0];
  } else {
    for (int i = 0; i < step; ++i) {
      vectors[i] =
          add_halves<step>(vectors[i], vectors[i + step], std::make_integer_sequence<int, lanes>());
    }
    return sums_of_lanes<C, lanes, step / 2>(vectors);
  }
}

}  // namespace solq::SOLQ_ISA
