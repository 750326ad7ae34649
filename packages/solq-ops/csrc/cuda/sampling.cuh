// From coordinates and weights to records: what is known of a sample before its rows are read.
//
// The lanes of a team take turns over samples, each prepares whole samples, once per (query, head);
// then all of them read the records of all the team's samples from shared memory. Nobody but the
// warp touches its records, so __syncwarp is the only barrier.
#pragma once

#include "levels.cuh"
#include "plan.h"
#include "platform.cuh"
#include "values.cuh"

namespace solq::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int32_t kNoToken = -1;       // a corner outside its level: not to be read
constexpr int32_t kUnsoundToken = -2;  // the same, and the result is NaN

// A thread's place among the lanes that serve a (query, head).
struct Team {
  int32_t lanes;
  int32_t lane;
  int32_t index;       // of the team in its block
  int32_t of_warp;     // teams in a warp
  int32_t index_warp;  // of the team in its warp

  __device__ explicit Team(int32_t lanes)
      : lanes(lanes),
        lane(threadIdx.x % lanes),
        index(threadIdx.x / lanes),
        of_warp(kWarp / lanes),
        index_warp(threadIdx.x % kWarp / lanes) {}

  __device__ int32_t samples_per_round() const { return lanes * kSamplesPerLane; }
};

// Every lane gets the sum; in a fixed order, so that results do not depend on timing.
template <typename C>
__device__ C sum_over_lanes(C value, int32_t lanes) {
#pragma unroll
  for (int32_t step = lanes / 2; step > 0; step /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, step);
  }
  return value;
}

template <typename C>
__device__ C max_over_lanes(C value, int32_t lanes) {
#pragma unroll
  for (int32_t step = lanes / 2; step > 0; step /= 2) {
    value = fmax(value, __shfl_xor_sync(kAllLanes, value, step));
  }
  return value;
}

// Where the tensors have what belongs to one (item, query, head). Small, as it lives long.
struct Row {
  int32_t query;  // among the queries of all items
  int32_t head;
  int32_t samples;  // -1 for nobody

  __device__ Row(const Problem& problem, int32_t query, int32_t head)
      : query(query), head(head), samples(static_cast<int32_t>(problem.samples)) {}
  __device__ static Row nobody() { return Row(); }

  __device__ bool is_somebody() const { return samples >= 0; }
  __device__ int64_t index(const Problem& problem) const { return query * problem.heads + head; }
  __device__ int64_t sample(const Problem& problem, int32_t sample) const {
    return index(problem) * problem.samples + sample;
  }

 private:
  __device__ Row() : query(0), head(0), samples(-1) {}
};

template <typename C>
struct Softmax {
  C largest;
  C scale;  // 1 / sum of exp(logit - largest)
};

template <typename T>
__device__ Softmax<Compute<T>> softmax_of(const Problem& problem, const Row& row,
                                          const Team& team) {
  using C = Compute<T>;
  if (problem.reference_size == 0) return {0, 1};
  const bool wide = aux_is_compute<T>(problem);
  C largest = -INFINITY;
#pragma unroll 1
  for (int32_t i = team.lane; i < row.samples; i += team.lanes) {
    largest = fmax(largest, load_aux<T>(problem.weights, row.sample(problem, i), wide));
  }
  largest = max_over_lanes(largest, team.lanes);
  C sum = 0;
#pragma unroll 1
  for (int32_t i = team.lane; i < row.samples; i += team.lanes) {
    sum += exp(load_aux<T>(problem.weights, row.sample(problem, i), wide) - largest);
  }
  return {largest, 1 / sum_over_lanes(sum, team.lanes)};
}

template <typename T>
__device__ Compute<T> attention_weight(const Problem& problem, const Row& row, int32_t sample,
                                       const Softmax<Compute<T>>& softmax) {
  const Compute<T> weight =
      load_aux<T>(problem.weights, row.sample(problem, sample), aux_is_compute<T>(problem));
  return problem.reference_size == 0 ? weight : exp(weight - softmax.largest) * softmax.scale;
}

// How a sample's position in pixels follows from what the caller gives; the derivatives go back.
template <typename C>
struct Position {
  C x, y;
  C offset_x, offset_y;  // size-4 references only: their width and height multiply these
  C scale_x, scale_y;    // d pixel / d coordinate
};

template <typename T>
__device__ Position<Compute<T>> position_of(const Problem& problem, const Row& row, int32_t sample,
                                            const Level* levels, int32_t level) {
  using C = Compute<T>;
  const C width = levels[level].width;
  const C height = levels[level].height;
  const int64_t first = 2 * row.sample(problem, sample);
  if (problem.reference_size == 0) {
    const C* location = static_cast<const C*>(problem.coordinates) + first;
    return {__ldg(location) * width - C(0.5),
            __ldg(location + 1) * height - C(0.5),
            0,
            0,
            width,
            height};
  }
  const bool wide = aux_is_compute<T>(problem);
  C x = load_aux<T>(problem.coordinates, first, wide);
  C y = load_aux<T>(problem.coordinates, first + 1, wide);
  const C* reference =
      static_cast<const C*>(problem.reference_points) +
      (static_cast<int64_t>(row.query) * problem.levels + level) * problem.reference_size;
  Position<C> position{0, 0, 0, 0, 1, 1};
  if (problem.reference_size == 2) {
    x /= width;
    y /= height;
  } else {
    // Offsets are parts of half the reference box; `points` share it.
    const C points = levels[level].end_sample - levels[level].first_sample;
    position.offset_x = x / points * C(0.5);
    position.offset_y = y / points * C(0.5);
    position.scale_x = __ldg(reference + 2) * C(0.5) / points * width;
    position.scale_y = __ldg(reference + 3) * C(0.5) / points * height;
    x = position.offset_x * __ldg(reference + 2);
    y = position.offset_y * __ldg(reference + 3);
  }
  position.x = (__ldg(reference) + x) * width - C(0.5);
  position.y = (__ldg(reference + 1) + y) * height - C(0.5);
  return position;
}

// The pixels around a position: rows y0, y0 + 1 and columns x0, x0 + 1.
template <typename C>
struct Corners {
  Four<int32_t> tokens;  // (y0, x0), (y0, x1), (y1, x0), (y1, x1)
  C right, below;        // the shares of x1 and y1
};

template <typename C>
__device__ Corners<C> corners_of(const Level& level, C x, C y) {
  constexpr int32_t kNo = kNoToken;
  if (level.height == 0) {
    return {{kUnsoundToken, kUnsoundToken, kUnsoundToken, kUnsoundToken}, 0, 0};
  }
  // Asked so that NaN is no: before any conversion to integers, which these bounds make defined.
  if (!(x > -1 && y > -1 && x < level.width && y < level.height)) {
    return {{kNo, kNo, kNo, kNo}, 0, 0};
  }
  const C left = floor(x), top = floor(y);
  const int32_t x0 = static_cast<int32_t>(left), y0 = static_cast<int32_t>(top);
  // Sizes above 2^24 are rounded in the question above, so both ends are asked for again.
  const bool has_left = x0 >= 0 && x0 < level.width, has_right = x0 + 1 < level.width;
  const bool has_top = y0 >= 0 && y0 < level.height, has_bottom = y0 + 1 < level.height;
  const int32_t first = level.start + y0 * level.width + x0;
  return {{has_top && has_left ? first : kNo, has_top && has_right ? first + 1 : kNo,
           has_bottom && has_left ? first + level.width : kNo,
           has_bottom && has_right ? first + level.width + 1 : kNo},
          x - left,
          y - top};
}

// Arrays rather than one of structs: 16-byte reads of neighbouring teams then fill whole lines of
// shared memory, without bank conflicts.
template <typename C>
struct Records {
  Four<int32_t>* tokens;
  Four<C>* shares;
  Four<C>* gradients;  // backward only
  int32_t stride, first;

  __device__ Records(void* memory, const Team& team)
      : stride(team.of_warp), first(threadIdx.x / kWarp * kRecordsPerWarp + team.index_warp) {
    tokens = static_cast<Four<int32_t>*>(memory);
    shares = reinterpret_cast<Four<C>*>(tokens + blockDim.x * kSamplesPerLane);
    gradients = shares + blockDim.x * kSamplesPerLane;
  }

  __device__ Four<int32_t>& tokens_of(int32_t place) const {
    return tokens[place * stride + first];
  }
  __device__ Four<C>& shares_of(int32_t place) const { return shares[place * stride + first]; }
  __device__ Four<C>& gradients_of(int32_t place) const {
    return gradients[place * stride + first];
  }
};

inline size_t record_bytes(int32_t threads, size_t compute_bytes, bool with_gradients) {
  const size_t record = sizeof(Four<int32_t>) + (with_gradients ? 8 : 4) * compute_bytes;
  return threads * kSamplesPerLane * record;
}

__device__ inline int32_t level_of(const Level* levels, int32_t sample) {
  int32_t level = 0;
#pragma unroll 1
  while (sample >= levels[level].end_sample) ++level;
  return level;
}

}  // namespace solq::cuda
