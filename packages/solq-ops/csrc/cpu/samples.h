// From what a query says (locations and weights, or reference point, offsets and logits) to the
// rows it reads and the share of each. Plain loops over kChunk samples, which compilers vectorise.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>

#include "problem.h"
#include "simd.h"
#include "tasks.h"

namespace solq::SOLQ_ISA {

// Samples handled at a time. SOLQ has 4 levels of 4 points: one chunk, one AVX-512 register.
constexpr int kChunk = 16;

// Room behind the last sample, so that a chunk may begin at any.
inline int64_t padded(int64_t samples) { return samples + kChunk; }

template <class C>
constexpr Dtype kComputeDtype = sizeof(C) == sizeof(double) ? Dtype::kFloat64 : Dtype::kFloat32;

// Memory for a thread's work, aligned to cache lines.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t count) {
    const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
    data_ = static_cast<T*>(std::aligned_alloc(64, bytes == 0 ? 64 : bytes));
    if (data_ == nullptr) throw std::bad_alloc();
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* get() { return data_; }
  const T* get() const { return data_; }

 private:
  T* data_;
};

// Everything about the level of each sample: [padded(samples)] each, alike for all queries.
template <class C>
struct SampleTable {
  explicit SampleTable(const Problem& problem)
      : size(padded(problem.samples)), floats(3 * size), integers(4 * size) {
    width = floats.get(), height = width + size, offset_scale = height + size;
    columns = integers.get(), rows = columns + size, start = rows + size, level = start + size;
    int64_t sample = 0;
    for (int32_t l = 0; l < problem.levels; ++l) {
      for (int64_t p = 0; p < problem.points_per_level[l]; ++p, ++sample) {
        rows[sample] = static_cast<int32_t>(problem.spatial_shapes[2 * l]);
        columns[sample] = static_cast<int32_t>(problem.spatial_shapes[2 * l + 1]);
        start[sample] = static_cast<int32_t>(problem.level_start_index[l]);
        level[sample] = l;
        // Beside a box, offsets are in half boxes per point of the level.
        offset_scale[sample] = C(0.5) / C(problem.points_per_level[l]);
      }
    }
    for (; sample < size; ++sample) {
      // No position is above -1 and below -1: the samples that fill the last chunk touch nothing.
      rows[sample] = columns[sample] = -1;
      start[sample] = level[sample] = 0;
      offset_scale[sample] = 0;
    }
    for (int64_t k = 0; k < size; ++k) width[k] = C(columns[k]), height[k] = C(rows[k]);
  }

  int64_t size;
  Buffer<C> floats;
  Buffer<int32_t> integers;
  C *width, *height, *offset_scale;
  int32_t *columns, *rows, *start, *level;
};

// The samples of one query and head: positions in pixels (0 at the first pixel's centre), weights.
template <class C>
struct Points {
  C *x, *y, *weight;
};

// Room for the samples of several queries, zeros at first: those that fill a last chunk stay zero.
template <class C>
class PointBuffer {
 public:
  PointBuffer(int64_t size, int64_t queries) : size_(size), numbers_(3 * size * queries) {
    std::fill_n(numbers_.get(), 3 * size * queries, C(0));
  }
  Points<C> operator[](int64_t q) {
    C* x = numbers_.get() + 3 * size_ * q;
    return {x, x + size_, x + 2 * size_};
  }

 private:
  int64_t size_;
  Buffer<C> numbers_;
};

// e^x of every lane, for x <= 0, with a relative error below 2^-22. Below the smallest normal
// number the result is zero.
template <int lanes>
inline Vector<float, lanes> exp_of_nonpositive(const Vector<float, lanes>& x) {
  using V = Vector<float, lanes>;
  using I = Vector<int32_t, lanes>;
  const V bounded = x > -87.0f ? x : V{} - 87.0f;  // also where x is NaN
  const I power = convert<int32_t, float, lanes>(bounded * 1.44269504f - 0.5f);
  const V whole = convert<float, int32_t, lanes>(power);
  // ln 2 in two parts, the first of so few bits that its product with `whole` is exact.
  const V rest = (bounded - whole * 0.693359375f) + whole * 2.12194440e-4f;
  V sum = V{} + 1.9875691500e-4f;  // the Cephes library's polynomial for e^rest - 1 - rest
  sum = sum * rest + 1.3981999507e-3f;
  sum = sum * rest + 8.3334519073e-3f;
  sum = sum * rest + 4.1665795894e-2f;
  sum = sum * rest + 1.6666665459e-1f;
  sum = sum * rest + 5.0000001201e-1f;
  const V mantissa = sum * rest * rest + rest + 1.0f;
  const V result = mantissa * bit_cast<V>(I((power + 127) << 23));
  const V below = x != x ? x : V{};
  return x > -87.0f ? result : below;
}
template <int lanes>
inline Vector<double, lanes> exp_of_nonpositive(const Vector<double, lanes>& x) {
  Vector<double, lanes> result;
  for (int i = 0; i < lanes; ++i) result[i] = std::exp(x[i]);
  return result;
}

// Numbers of a dtype known at run time, as numbers of the compute type.
template <class C, class T>
inline void convert_from(const T* from, int64_t count, C* to) {
  int64_t i = 0;
  for (; i + kLanes<C> <= count; i += kLanes<C>)
    store<kLanes<C>>(to + i, load<kLanes<C>>(from + i));
  for (; i < count; ++i) to[i] = load<1>(from + i);
}
template <class C>
inline void load_numbers(const void* from, Dtype dtype, int64_t first, int64_t count, C* to) {
  if constexpr (sizeof(C) == sizeof(double)) {
    convert_from(static_cast<const double*>(from) + first, count, to);
  } else if (dtype == Dtype::kFloat32) {
    convert_from(static_cast<const float*>(from) + first, count, to);
  } else if (dtype == Dtype::kBFloat16) {
    convert_from(static_cast<const BFloat16*>(from) + first, count, to);
  } else {
    convert_from(static_cast<const Float16*>(from) + first, count, to);
  }
}
template <class C, class T>
inline void convert_to(const C* from, int64_t count, T* to) {
  int64_t i = 0;
  for (; i + kLanes<C> <= count; i += kLanes<C>)
    store<kLanes<C>>(to + i, load<kLanes<C>>(from + i));
  for (; i < count; ++i) store<1>(to + i, from[i]);
}
template <class C>
inline void store_numbers(const C* from, Dtype dtype, int64_t first, int64_t count, void* to) {
  if constexpr (sizeof(C) == sizeof(double)) {
    convert_to(from, count, static_cast<double*>(to) + first);
  } else if (dtype == Dtype::kFloat32) {
    convert_to(from, count, static_cast<float*>(to) + first);
  } else if (dtype == Dtype::kBFloat16) {
    convert_to(from, count, static_cast<BFloat16*>(to) + first);
  } else {
    convert_to(from, count, static_cast<Float16*>(to) + first);
  }
}

inline int64_t bytes_of(Dtype dtype) {
  return dtype == Dtype::kFloat64 ? 8 : dtype == Dtype::kFloat32 ? 4 : 2;
}

// Any address may be asked for, also one behind the end.
inline void prefetch(const void* base, int64_t offset, int64_t bytes) {
  const char* from = static_cast<const char*>(base) + offset;
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i);
}

// In place. What follows the logits up to the next whole vector becomes zero.
template <class C>
inline void softmax(C* logits, int64_t count) {
  constexpr int lanes = kLanes<C>;
  using V = Vector<C, lanes>;
  for (int64_t k = count; k % lanes != 0; ++k) logits[k] = -std::numeric_limits<C>::infinity();
  const auto larger = [](auto a, auto b) { return a > b ? a : b; };
  V largest = load<lanes>(logits);
  for (int64_t k = lanes; k < count; k += lanes) largest = larger(load<lanes>(logits + k), largest);
  const C top = reduce<C, lanes>(largest, larger);
  V sums = {};
  for (int64_t k = 0; k < count; k += lanes) {
    const V power = exp_of_nonpositive<lanes>(V(load<lanes>(logits + k) - top));
    store<lanes>(logits + k, power);
    sums += power;
  }
  // A NaN among the logits makes the sum one, and so all weights, as in torch.
  const C sum = reduce<C, lanes>(sums, [](auto a, auto b) { return a + b; });
  for (int64_t k = 0; k < count; k += lanes)
    store<lanes>(logits + k, V(load<lanes>(logits + k) / sum));
}

// And the way back; a whole chunk is written behind the last one begun.
template <class C>
inline void join_coordinates(const C* x, const C* y, int64_t count, C* pairs) {
  constexpr int lanes = kLanes<C>;
  for (int64_t k = 0; k < count; k += lanes) {
    Vector<C, lanes> first, second;
    join_pairs(load<lanes>(x + k), load<lanes>(y + k), first, second,
               std::make_integer_sequence<int, lanes>());
    store<lanes>(pairs + 2 * k, first);
    store<lanes>(pairs + 2 * k + lanes, second);
  }
}

template <class C>
inline void load_pairs(const void* from, Dtype dtype, int64_t first, int64_t count, C* x, C* y) {
  for (int64_t k = 0; k < count; k += kChunk) {
    const int64_t present = std::min<int64_t>(count - k, kChunk);
    C pairs[2 * kChunk] = {};
    load_numbers(from, dtype, 2 * (first + k), 2 * present, pairs);
    constexpr int lanes = kLanes<C>;
    for (int i = 0; i < kChunk; i += lanes) {
      Vector<C, lanes> x_lanes, y_lanes;
      split_pairs(load<lanes>(pairs + 2 * i), load<lanes>(pairs + 2 * i + lanes), x_lanes, y_lanes,
                  std::make_integer_sequence<int, lanes>());
      store<lanes>(x + k + i, x_lanes);
      store<lanes>(y + k + i, y_lanes);
    }
  }
}

// Positions on one axis, of locations ...
template <class C>
inline void to_pixels(int64_t count, const C* __restrict sizes, C* __restrict positions) {
  for (int64_t k = 0; k < count; ++k) positions[k] = positions[k] * sizes[k] - C(0.5);
}

// ... of offsets in pixels from a point of each level ...
template <class C>
inline void to_pixels_from_points(int64_t count, const C* __restrict sizes,
                                  const int32_t* __restrict level, const C* __restrict references,
                                  C* __restrict positions) {
  for (int64_t k = 0; k < count; ++k) {
    positions[k] += references[2 * level[k]] * sizes[k] - C(0.5);
  }
}

// ... and of offsets in half boxes, divided by the points of the level, from a box's centre.
template <class C>
inline void to_pixels_from_boxes(int64_t count, const C* __restrict sizes,
                                 const C* __restrict scales, const int32_t* __restrict level,
                                 const C* __restrict references, C* __restrict positions) {
  for (int64_t k = 0; k < count; ++k) {
    const C centre = references[4 * level[k]], extent = references[4 * level[k] + 2];
    positions[k] = (centre + positions[k] * scales[k] * extent) * sizes[k] - C(0.5);
  }
}

// Asks for what the same head of a query of the next block will read: a few lines, as far from this
// query's as the other heads take, which is too far for the hardware to foresee.
inline void prefetch_points(const Problem& problem, int64_t row) {
  const int64_t later = row + kQueriesPerBlock * problem.heads;
  const int64_t aux_bytes = bytes_of(problem.aux_dtype);
  const int64_t coordinate_bytes = problem.reference_size != 0              ? aux_bytes
                                   : problem.value_dtype == Dtype::kFloat64 ? 8
                                                                            : 4;
  prefetch(problem.coordinates, later * problem.samples * 2 * coordinate_bytes,
           problem.samples * 2 * coordinate_bytes);
  prefetch(problem.weights, later * problem.samples * aux_bytes, problem.samples * aux_bytes);
}

// The points of a query and head; `row` is (batch item * queries + query) * heads + head. The
// offsets beside boxes go to `offsets` as they came: the gradient of the extents needs them.
template <class C>
inline void load_points(const Problem& problem, const SampleTable<C>& table, int64_t row,
                        const Points<C>& points, const Points<C>& offsets) {
  const int64_t samples = problem.samples, first = row * samples;
  const int64_t count = (samples + kChunk - 1) / kChunk * kChunk;
  prefetch_points(problem, row);
  load_numbers(problem.weights, problem.aux_dtype, first, samples, points.weight);
  if (problem.reference_size == 0) {
    load_pairs(problem.coordinates, kComputeDtype<C>, first, samples, points.x, points.y);
    to_pixels(count, table.width, points.x);
    to_pixels(count, table.height, points.y);
    return;
  }
  softmax(points.weight, samples);
  load_pairs(problem.coordinates, problem.aux_dtype, first, samples, points.x, points.y);
  const C* references = static_cast<const C*>(problem.reference_points) +
                        row / problem.heads * problem.levels * problem.reference_size;
  if (problem.reference_size == 2) {
    to_pixels_from_points(count, table.width, table.level, references, points.x);
    to_pixels_from_points(count, table.height, table.level, references + 1, points.y);
  } else {
    for (int64_t k = 0; k < count; ++k) offsets.x[k] = points.x[k];
    for (int64_t k = 0; k < count; ++k) offsets.y[k] = points.y[k];
    const C* scale = table.offset_scale;
    to_pixels_from_boxes(count, table.width, scale, table.level, references, points.x);
    to_pixels_from_boxes(count, table.height, scale, table.level, references + 1, points.y);
  }
}

// A chunk of samples as the four pixels around each: above left, above right, below left, below
// right.
template <class C>
struct Corners {
  uint64_t address[4][kChunk];
  C weight[4][kChunk];
  C right[kChunk], below[kChunk];  // the shares of the right and of the lower pixels
};

// What is read for a pixel outside its level: zeros, so that no value of another pixel counts, be
// it infinite.
alignas(64) static const char kZeros[kMaxChannels * sizeof(double)] = {};

// `base` is the address of the first token's channels, `stride` the bytes from token to token;
// pixels outside are at `outside`.
template <class C>
inline void locate(const SampleTable<C>& table, const Points<C>& points, int64_t chunk,
                   uint64_t base, uint32_t stride, uint64_t outside, Corners<C>& corners) {
  const C* __restrict width = table.width + chunk;
  const C* __restrict height = table.height + chunk;
  const int32_t* __restrict columns = table.columns + chunk;
  const int32_t* __restrict rows = table.rows + chunk;
  const int32_t* __restrict start = table.start + chunk;
  const C* __restrict xs = points.x + chunk;
  const C* __restrict ys = points.y + chunk;
  const C* __restrict weights = points.weight + chunk;
  int32_t token[4][kChunk];
  for (int k = 0; k < kChunk; ++k) {
    // Also false for NaN. No pixel around -2 is inside, and -2 fits an integer.
    const bool touches = (xs[k] > -1) & (ys[k] > -1) & (xs[k] < width[k]) & (ys[k] < height[k]);
    const C x = touches ? xs[k] : C(-2), y = touches ? ys[k] : C(-2);
    int32_t left = static_cast<int32_t>(x), above = static_cast<int32_t>(y);
    left -= C(left) > x;
    above -= C(above) > y;
    const C right_share = x - C(left), below_share = y - C(above);
    const C weight_below = below_share * weights[k], weight_above = weights[k] - weight_below;
    corners.right[k] = right_share;
    corners.below[k] = below_share;
    corners.weight[0][k] = weight_above - weight_above * right_share;
    corners.weight[1][k] = weight_above * right_share;
    corners.weight[2][k] = weight_below - weight_below * right_share;
    corners.weight[3][k] = weight_below * right_share;
    const int32_t first = start[k] + above * columns[k] + left;
    const bool in_left = left >= 0, in_right = (left >= -1) & (left + 1 < columns[k]);
    const bool in_above = above >= 0, in_below = (above >= -1) & (above + 1 < rows[k]);
    token[0][k] = in_left & in_above ? first : -1;
    token[1][k] = in_right & in_above ? first + 1 : -1;
    token[2][k] = in_left & in_below ? first + columns[k] : -1;
    token[3][k] = in_right & in_below ? first + columns[k] + 1 : -1;
  }
  for (int c = 0; c < 4; ++c) {
    for (int k = 0; k < kChunk; ++k) {
      const uint64_t offset = static_cast<uint64_t>(static_cast<uint32_t>(token[c][k])) * stride;
      corners.address[c][k] = token[c][k] < 0 ? outside : base + offset;
    }
  }
}

}  // namespace solq::SOLQ_ISA
