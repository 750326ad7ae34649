// The backward kernel: each team reads the rows around its query's points once more, adds its part
// of grad_value to them, and reduces the products with grad_output to the gradients of coordinates
// and weights.
#pragma once

#include "forward.cuh"
#include "gradients.cuh"
#include "sums.cuh"

namespace solq::cuda {

// What a lane does with its chunks of the rows at a sample's corners.
template <typename T, typename Sum, int kBytes, int kLanes, int kChunks>
struct CornerRows {
  using C = Compute<T>;
  using Element = typename Sum::Element;
  using Access = Chunk<T, kBytes>;
  static constexpr int kElements = Access::kElements;
  static constexpr bool kTuned = kLanes > 0;

  // Of the item and head, and of the row's gradient; all at this lane's first element.
  const T* value;
  Element* sums;
  const T* grad_output;
  int32_t token_elements;
  int32_t lanes;
  int32_t chunks_left;  // in the row from the lane's first on; 0: there is no row
  Sum sum;
  Access grad[kChunks];  // as in memory: 16-bit values take half as many registers

  __device__ CornerRows(const BackwardArguments<T, Sum>& arguments, const Team& team,
                        const Work& work)
      : token_elements(
            static_cast<int32_t>(arguments.call.problem.heads * arguments.call.problem.channels)),
        lanes(team.lanes),
        sum(Sum::of(arguments.magnitudes)) {
    const Problem& problem = arguments.call.problem;
    const int64_t first = work.first_element + team.lane * kElements;
    value = static_cast<const T*>(problem.value) + first;
    sums = arguments.sums + first;
    grad_output =
        arguments.grad_output + work.row.index(problem) * problem.channels + team.lane * kElements;
    chunks_left =
        work.row.is_somebody() ? static_cast<int32_t>(problem.channels) / kElements - team.lane : 0;
    load_grad(0);
  }

  // Chunks are counted in a row; the lane's are every lanes-th of them.
  __device__ int32_t chunk_at(int32_t pass, int32_t chunk) const {
    return (pass * kChunks + chunk) * lanes;
  }
  __device__ bool has(int32_t chunk) const { return kTuned || chunk < chunks_left; }

  __device__ void load_grad(int32_t pass) {
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      const int32_t chunk = chunk_at(pass, i);
      if (chunk < chunks_left) grad[i].load(grad_output + chunk * kElements);
    }
  }

  // dots += this lane's part of the corners' rows times grad_output.
  __device__ void read(int32_t pass, const int32_t (&token)[4], C (&dots)[4]) const {
    Access rows[4][kChunks];
#pragma unroll
    for (int corner = 0; corner < 4; ++corner) {
      const T* row = advance(value, token[corner], token_elements * sizeof(T));
#pragma unroll
      for (int i = 0; i < kChunks; ++i) {
        const int32_t chunk = chunk_at(pass, i);
        if (token[corner] >= 0 && has(chunk)) rows[corner][i].load(row + chunk * kElements);
      }
    }
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      C gradient[kElements];
      grad[i].unpack(gradient);
#pragma unroll
      for (int corner = 0; corner < 4; ++corner) {
        C values[kElements];
        rows[corner][i].unpack(values);
#pragma unroll
        for (int e = 0; e < kElements; ++e) dots[corner] += gradient[e] * values[e];
      }
    }
  }

  // Adds share x grad_output to the sums of each corner's row.
  __device__ void add(int32_t pass, const int32_t (&token)[4], const C (&share)[4]) const {
#pragma unroll
    for (int corner = 0; corner < 4; ++corner) {
      if (token[corner] < 0) continue;
      Element* row = advance(sums, token[corner], token_elements * sizeof(Element));
#pragma unroll
      for (int i = 0; i < kChunks; ++i) {
        const int32_t chunk = chunk_at(pass, i);
        C contributions[kElements];
        grad[i].unpack(contributions);
#pragma unroll
        for (int e = 0; e < kElements; ++e) contributions[e] *= share[corner];
        if (has(chunk)) sum.add(row + chunk * kElements, contributions);
      }
    }
  }
};

// kLanes == 0: the general kernel, which takes its mapping from the arguments and reads grad_output
// again for every sample, where it does not fit in a pass of all lanes.
//
// Two blocks on a multiprocessor: up to 128 registers, with room for all 12 loads of a sample of 48
// channels in flight. A third block would spill.
template <typename T, typename Sum, int kBytes, int kLanes, int kChunks>
__global__ void __launch_bounds__(kMaxThreads, kLanes > 0 ? 2 : 1)
    backward_kernel(const __grid_constant__ BackwardArguments<T, Sum> arguments) {
  using C = Compute<T>;
  using Rows = CornerRows<T, Sum, kBytes, kLanes, kChunks>;
  const Problem& problem = arguments.call.problem;
  const Tile& plan = arguments.call.tile;
  const Team team(Rows::kTuned ? kLanes : plan.mapping.lanes);
  const int32_t passes = Rows::kTuned ? 1 : plan.slices;

  Level* levels = shared_memory<Level>();
  const Records<C> records(shared_memory<char>() + level_bytes(problem.levels), team);
  stage_levels(arguments.call, levels);

  const Work work = work_of(arguments.call, levels, team, /*slices=*/1);
  const Row& row = work.row;
  Rows rows(arguments, team, work);
  const Softmax<C> softmax = softmax_of<T>(problem, row, team);
  C expectation = 0;  // of the samples' gradients, over the softmax: this lane's part

  int32_t first = 0;
  do {  // once even without samples: the sums of reference points are to be written
    __syncwarp();
    prepare_backward<T, Sum>(problem, levels, row, team, first, row.samples, softmax,
                             arguments.magnitudes, arguments.on_chip_tokens, records);
    __syncwarp();
    const int32_t left = static_cast<int32_t>(problem.samples) - first;
    const int32_t count = min(left, team.samples_per_round());
    for (int32_t i = 0; i < count; ++i) {
      const Four<int32_t> tokens = records.tokens_of(i);
      const Four<C> shares = records.shares_of(i);
      const int32_t token[4] = {tokens.x, tokens.y, tokens.z, tokens.w};
      const C right = shares.x, left = 1 - right, below = shares.y, above = 1 - below;
      const C share[4] = {shares.w * (above * left), shares.w * (above * right),
                          shares.w * (below * left), shares.w * (below * right)};
      const bool scatters = rows.sum.is_finite() && shares.w != 0;
      C dots[4] = {};
      for (int32_t pass = 0; pass < passes; ++pass) {
        if (passes > 1) rows.load_grad(pass);
        rows.read(pass, token, dots);
        if (scatters) rows.add(pass, token, share);
      }
      // Linear in the dots: three sums over the lanes instead of four.
      const C weight =
          above * (left * dots[0] + right * dots[1]) + below * (left * dots[2] + right * dots[3]);
      const C x = above * (dots[1] - dots[0]) + below * (dots[3] - dots[2]);
      const C y = left * (dots[2] - dots[0]) + right * (dots[3] - dots[1]);
      const Four<C> total{sum_over_lanes(weight, team.lanes),
                          sum_over_lanes(shares.z * x, team.lanes),
                          sum_over_lanes(shares.z * y, team.lanes), 0};
      if (team.lane == 0) records.gradients_of(i) = total;
    }

    __syncwarp();
#pragma unroll 1
    for (int32_t place = team.lane; place < count && row.is_somebody(); place += team.lanes) {
      finish_sample<T, Sum>(arguments, levels, row, first + place, records, place, expectation);
    }
    if (problem.reference_size > 0) {
      __syncwarp();
      if (row.is_somebody()) add_references<T, Sum>(arguments, levels, row, team, first, records);
    }
    first += team.samples_per_round();
  } while (first < problem.samples);

  if (problem.reference_size == 0) return;
  expectation = sum_over_lanes(expectation, team.lanes);
  // The same lane wrote these grad_probabilities: a round is a multiple of the lanes.
#pragma unroll 1
  for (int32_t i = team.lane; i < row.samples; i += team.lanes) {
    const int64_t index = row.sample(problem, i);
    const C probability = attention_weight<T>(problem, row, i, softmax);
    store_aux<T>(arguments.grad_weights, index, aux_is_compute<T>(problem),
                 probability * (arguments.grad_probabilities[index] - expectation));
  }
}

}  // namespace solq::cuda
