// The forward kernel: each team gathers the rows around its query's points and writes their sum.
#pragma once

#include "sampling.cuh"

namespace solq::cuda {

// The row that a team works on, and the slice of it. Tiles of queries are fastest: the blocks that
// run at the same time read few heads of one item, which stay in L2 (4.3 MB per head of float32 at
// 22,223 tokens).
struct Work {
  Row row;
  int64_t first_element;  // of the item's value, for this head
  int32_t slice;
};

__device__ inline Work work_of(const KernelArguments& arguments, const Level* levels,
                               const Team& team, int32_t slices) {
  const Problem& problem = arguments.problem;
  const Tile& plan = arguments.tile;
  int32_t rest = blockIdx.x;
  const int32_t tile = rest % plan.tiles;
  rest /= plan.tiles;
  const int32_t slice = rest % slices;
  rest /= slices;
  const int32_t head = rest % plan.head_blocks * plan.heads + team.index % plan.heads;
  const int64_t item = rest / plan.head_blocks;
  const int32_t query =
      head < problem.heads ? query_of(arguments, levels, tile, team.index / plan.heads) : -1;
  // Who has nothing to do goes through the same steps without samples: warps meet at barriers.
  if (query < 0) return {Row::nobody(), 0, slice};
  return {Row(problem, static_cast<int32_t>(item * problem.queries + query), head),
          (item * problem.tokens * problem.heads + head) * problem.channels, slice};
}

// tokens of the corners, and the share of each in the row's sum.
template <typename T>
__device__ void prepare_forward(const Problem& problem, const Level* levels, const Row& row,
                                const Team& team, int32_t first_sample,
                                const Softmax<Compute<T>>& softmax,
                                const Records<Compute<T>>& records) {
  using C = Compute<T>;
#pragma unroll
  for (int32_t turn = 0; turn < kSamplesPerLane; ++turn) {
    const int32_t place = turn * team.lanes + team.lane;
    const int32_t sample = first_sample + place;
    Four<int32_t> tokens{kNoToken, kNoToken, kNoToken, kNoToken};
    Four<C> shares{0, 0, 0, 0};
    if (sample < row.samples) {
      const int32_t level = level_of(levels, sample);
      const auto position = position_of<T>(problem, row, sample, levels, level);
      const auto corners = corners_of<C>(levels[level], position.x, position.y);
      const C weight = attention_weight<T>(problem, row, sample, softmax);
      const C below = weight * corners.below, above = weight * (1 - corners.below);
      const C right = corners.right, left = 1 - corners.right;
      tokens = corners.tokens;
      // An infinite weight, too, has no part in a corner that is not there.
      shares = {tokens.x < 0 ? 0 : above * left, tokens.y < 0 ? 0 : above * right,
                tokens.z < 0 ? 0 : below * left, tokens.w < 0 ? 0 : below * right};
      if (tokens.x == kUnsoundToken) shares = {C(NAN), C(NAN), C(NAN), C(NAN)};
    }
    records.tokens_of(place) = tokens;
    records.shares_of(place) = shares;
  }
}

// Blocks that are to fit on a multiprocessor: tells ptxas how many registers it has. It knows
// better (0) for many sums per lane, and otherwise spills to fit one block more.
template <typename T, int kBytes, int kLanes, int kChunks>
constexpr int kForwardBlocks = kLanes > 0 && (kChunks * kBytes <= 12 * sizeof(T)) ? 3 : 0;

// kLanes == 0: the general kernel, whose mapping comes with the arguments.
template <typename T, int kBytes, int kLanes, int kChunks>
__global__ void __launch_bounds__(kMaxThreads, kForwardBlocks<T, kBytes, kLanes, kChunks>)
    forward_kernel(const __grid_constant__ KernelArguments arguments, T* output) {
  using C = Compute<T>;
  using Access = Chunk<T, kBytes>;
  constexpr bool kTuned = kLanes > 0;
  // Enough loads in flight for rows of few chunks.
  [[maybe_unused]] constexpr int32_t kAtOnce = kChunks == 1 ? 2 : 1;
  const Problem& problem = arguments.problem;
  const Team team(kTuned ? kLanes : arguments.tile.mapping.lanes);

  Level* levels = shared_memory<Level>();
  const Records<C> records(shared_memory<char>() + level_bytes(problem.levels), team);
  stage_levels(arguments, levels);

  const Work work = work_of(arguments, levels, team, kTuned ? 1 : arguments.tile.slices);
  const Row& row = work.row;
  const int32_t first_chunk = work.slice * team.lanes * kChunks + team.lane;
  const int32_t all_chunks = static_cast<int32_t>(problem.channels) / Access::kElements;
  const int32_t token_bytes = static_cast<int32_t>(problem.heads * problem.channels * sizeof(T));
  const Softmax<C> softmax = softmax_of<T>(problem, row, team);
  const T* value =
      static_cast<const T*>(problem.value) + work.first_element + first_chunk * Access::kElements;
  C sums[kChunks][Access::kElements] = {};

  for (int32_t first = 0; first < problem.samples; first += team.samples_per_round()) {
    __syncwarp();  // the records of the last round have been read
    prepare_forward<T>(problem, levels, row, team, first, softmax, records);
    __syncwarp();
    const int32_t left = static_cast<int32_t>(problem.samples) - first;
    const int32_t count = min(left, team.samples_per_round());
#pragma unroll kAtOnce
    for (int32_t i = 0; i < count; ++i) {
      const Four<int32_t> tokens = records.tokens_of(i);
      const Four<C> shares = records.shares_of(i);
      const int32_t token[4] = {tokens.x, tokens.y, tokens.z, tokens.w};
      const C share[4] = {shares.x, shares.y, shares.z, shares.w};
      Access chunks[4][kChunks];
#pragma unroll
      for (int corner = 0; corner < 4; ++corner) {
        const T* source = advance(value, token[corner], token_bytes);
#pragma unroll
        for (int chunk = 0; chunk < kChunks; ++chunk) {
          const int32_t place = chunk * team.lanes;
          if (token[corner] >= 0 && (kTuned || first_chunk + place < all_chunks)) {
            chunks[corner][chunk].load(source + place * Access::kElements);
          }
        }
      }
#pragma unroll
      for (int corner = 0; corner < 4; ++corner) {
#pragma unroll
        for (int chunk = 0; chunk < kChunks; ++chunk) {
          C values[Access::kElements];
          chunks[corner][chunk].unpack(values);
#pragma unroll
          for (int e = 0; e < Access::kElements; ++e) {
            sums[chunk][e] += share[corner] * values[e];
          }
        }
      }
    }
  }

  if (!row.is_somebody()) return;
  T* target = output + row.index(problem) * problem.channels;
#pragma unroll
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    const int32_t place = first_chunk + chunk * team.lanes;
    if (kTuned || place < all_chunks) {
      Access rounded;
      rounded.pack(sums[chunk]);
      rounded.store(target + place * Access::kElements);
    }
  }
}

}  // namespace solq::cuda
