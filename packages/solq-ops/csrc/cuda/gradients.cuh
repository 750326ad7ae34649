// What surrounds the reads and additions of the backward pass: records of samples at the start, the
// gradients of coordinates, weights and reference points at the end.
#pragma once

#include "sampling.cuh"
#include "sums.cuh"

namespace solq::cuda {

template <typename T, typename Sum>
struct BackwardArguments {
  KernelArguments call;
  const T* grad_output;
  typename Sum::Element* sums;  // of grad_value
  Magnitudes magnitudes;
  int32_t on_chip_tokens;          // levels of no more are added up by on_chip_kernel
  Compute<T>* grad_references;     // fused: [batch, queries, heads, levels, reference_size]
  Compute<T>* grad_probabilities;  // fused: like weights
  void* grad_coordinates;
  void* grad_weights;
};

__device__ inline bool fits_on_chip(const Level& level, int32_t on_chip_tokens) {
  return static_cast<int64_t>(level.height) * level.width <= on_chip_tokens;
}

// tokens of the corners; the shares of right and below, the weight, and the weight to scatter with:
// 0 where there is nothing to add to grad_value.
template <typename T, typename Sum>
__device__ void prepare_backward(const Problem& problem, const Level* levels, const Row& row,
                                 const Team& team, int32_t first_sample, int32_t end_sample,
                                 const Softmax<Compute<T>>& softmax, const Magnitudes& magnitudes,
                                 int32_t on_chip_tokens, const Records<Compute<T>>& records) {
  using C = Compute<T>;
#pragma unroll
  for (int32_t turn = 0; turn < kSamplesPerLane; ++turn) {
    const int32_t place = turn * team.lanes + team.lane;
    const int32_t sample = first_sample + place;
    Four<int32_t> tokens{kNoToken, kNoToken, kNoToken, kNoToken};
    Four<C> shares{0, 0, 0, 0};
    if (sample < row.samples && sample < end_sample) {
      const int32_t level = level_of(levels, sample);
      const auto position = position_of<T>(problem, row, sample, levels, level);
      const auto corners = corners_of<C>(levels[level], position.x, position.y);
      const C weight = attention_weight<T>(problem, row, sample, softmax);
      tokens = corners.tokens;
      shares = {corners.right, corners.below, weight, weight};
      if (Sum::kIsExact && !is_finite(weight)) {
        magnitudes.template mark_not_finite<C>();
        shares.w = 0;
      }
      if (fits_on_chip(levels[level], on_chip_tokens)) shares.w = 0;
    }
    records.tokens_of(place) = tokens;
    records.shares_of(place) = shares;
  }
}

__device__ inline bool touches(const Four<int32_t>& tokens) {
  return tokens.x >= 0 || tokens.y >= 0 || tokens.z >= 0 || tokens.w >= 0;
}

// The end of a sample's way: from the gradients of its weight and position to those of what the
// caller gave. Leaves its part of the gradient of its level's reference point for add_references.
template <typename T, typename Sum>
__device__ void finish_sample(const BackwardArguments<T, Sum>& arguments, const Level* levels,
                              const Row& row, int32_t sample, const Records<Compute<T>>& records,
                              int32_t place, Compute<T>& expectation) {
  using C = Compute<T>;
  const Problem& problem = arguments.call.problem;
  const bool wide = aux_is_compute<T>(problem);
  const int64_t index = row.sample(problem, sample);
  const Four<int32_t> tokens = records.tokens_of(place);
  const Four<C> gradient = records.gradients_of(place);
  Four<C> reference{0, 0, 0, 0};
  C weight = 0, x = 0, y = 0;  // of a point that touches nothing, even if grad_output is NaN
  if (tokens.x == kUnsoundToken) {
    weight = x = y = C(NAN);
    reference = {x, x, x, x};
  } else if (touches(tokens)) {
    const int32_t level = level_of(levels, sample);
    const C width = levels[level].width, height = levels[level].height;
    const auto position = position_of<T>(problem, row, sample, levels, level);
    weight = gradient.x;
    x = gradient.y * position.scale_x;
    y = gradient.z * position.scale_y;
    reference = {gradient.y * width, gradient.z * height, gradient.y * width * position.offset_x,
                 gradient.z * height * position.offset_y};
  }
  if (problem.reference_size == 0) {
    C* target = static_cast<C*>(arguments.grad_coordinates) + 2 * index;
    target[0] = x;
    target[1] = y;
    store_aux<T>(arguments.grad_weights, index, wide, weight);
    return;
  }
  store_aux<T>(arguments.grad_coordinates, 2 * index, wide, x);
  store_aux<T>(arguments.grad_coordinates, 2 * index + 1, wide, y);
  arguments.grad_probabilities[index] = weight;
  expectation += records.shares_of(place).z * weight;
  records.gradients_of(place) = reference;
}

// Adds a round's samples to the sums of the team's reference points. One lane does all of a sum, so
// its order is fixed and it needs no atomics; reference_kernel adds up the heads.
template <typename T, typename Sum>
__device__ void add_references(const BackwardArguments<T, Sum>& arguments, const Level* levels,
                               const Row& row, const Team& team, int32_t first_sample,
                               const Records<Compute<T>>& records) {
  using C = Compute<T>;
  const Problem& problem = arguments.call.problem;
  const int32_t size = problem.reference_size;
  C* sums = arguments.grad_references + row.index(problem) * problem.levels * size;
#pragma unroll 1
  for (int32_t i = team.lane; i < problem.levels * size; i += team.lanes) {
    const Level& level = levels[i / size];
    const int32_t component = i % size;
    const int32_t end =
        min(min(row.samples, level.end_sample) - first_sample, team.samples_per_round());
    const int32_t begin = max(level.first_sample - first_sample, 0);
    C sum = 0;
#pragma unroll 1
    for (int32_t place = begin; place < end; ++place) {
      const Four<C>& part = records.gradients_of(place);
      sum +=
          component < 2 ? (component == 0 ? part.x : part.y) : (component == 2 ? part.z : part.w);
    }
    if (first_sample == 0) {
      sums[i] = sum;
    } else if (begin < end) {
      sums[i] += sum;
    }
  }
}

// The gradient of a reference point is that of all heads, added in their order.
template <typename C>
__global__ void __launch_bounds__(kMaxThreads)
    reference_kernel(const C* by_head, int64_t queries, int64_t heads, int64_t size, C* total) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < queries * size;
       i += step) {
    const C* part = by_head + i / size * heads * size + i % size;
    C sum = 0;
    for (int64_t head = 0; head < heads; ++head) sum += part[head * size];
    total[i] = sum;
  }
}

}  // namespace solq::cuda
