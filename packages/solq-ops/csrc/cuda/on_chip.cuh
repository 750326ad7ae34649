// Sums of grad_value for the levels that fit in shared memory.
//
// A coarse level's elements each get hundreds of contributions (1302 on SOLQ's coarsest, against 21
// on its finest): in global memory they queue at a few addresses. Here a block owns all the sums of
// one (item, head, level), takes its share of the queries, and adds to global memory once.
//
// Shared memory adds integers of 32 bits in one instruction, but floats and integers of 64 bits by
// compare-and-swap (ATOMS.CAST.SPIN, on sm_80 to sm_120), so threads are kept from meeting there.
#pragma once

#include "gradients.cuh"

namespace solq::cuda {

template <typename T, typename Sum>
__global__ void __launch_bounds__(kOnChipThreads, 1)
    on_chip_kernel(const __grid_constant__ BackwardArguments<T, Sum> arguments, OnChip plan) {
  using C = Compute<T>;
  using Element = typename Sum::Element;
  const Problem& problem = arguments.call.problem;
  const int32_t channels = static_cast<int32_t>(problem.channels);
  const Team team(plan.lanes);

  int64_t rest = blockIdx.x;
  const int32_t share = static_cast<int32_t>(rest % plan.shares);
  rest /= plan.shares;
  const int32_t level_index = static_cast<int32_t>(rest % problem.levels);
  rest /= problem.levels;
  const int32_t head = static_cast<int32_t>(rest % problem.heads);
  const int64_t item = rest / problem.heads;

  char* memory = shared_memory<char>();
  Element* sums = reinterpret_cast<Element*>(memory);
  Level* levels = reinterpret_cast<Level*>(memory + plan.bytes);
  const Records<C> records(memory + plan.bytes + level_bytes(problem.levels), team);
  stage_levels(arguments.call, levels);
  const Level level = levels[level_index];
  const Sum sum = Sum::of(arguments.magnitudes);
  // The same for all threads of the block.
  if (level.height == 0 || !fits_on_chip(level, plan.tokens)) return;

  const int32_t elements = level.height * level.width * channels;
  for (int32_t i = threadIdx.x; i < elements; i += blockDim.x) sums[i] = 0;
  __syncthreads();

  const int32_t queries = static_cast<int32_t>(problem.queries);
  const int32_t teams = blockDim.x / team.lanes;
  // Teams start far from one another: neighbouring queries would add to the same few sums at once.
  const int32_t per_team = (queries + plan.shares * teams - 1) / (plan.shares * teams);
  const int64_t first_query = (static_cast<int64_t>(share) * teams + team.index) * per_team;
  for (int32_t i = 0; i < per_team; ++i) {
    const int64_t query = first_query + i;
    const Row row = query < queries
                        ? Row(problem, static_cast<int32_t>(item * queries + query), head)
                        : Row::nobody();
    const Softmax<C> softmax = softmax_of<T>(problem, row, team);
    const T* grad_output = arguments.grad_output + row.index(problem) * channels;

    for (int32_t first = level.first_sample; first < level.end_sample;
         first += team.samples_per_round()) {
      __syncwarp();
      prepare_backward<T, Sum>(problem, levels, row, team, first, level.end_sample, softmax,
                               arguments.magnitudes, /*on_chip_tokens=*/0, records);
      __syncwarp();
      const int32_t count = min(level.end_sample - first, team.samples_per_round());
      for (int32_t channel = team.lane; channel < channels; channel += team.lanes) {
        const C grad = to_compute(grad_output[channel]);
        for (int32_t place = 0; place < count; ++place) {
          const Four<int32_t> tokens = records.tokens_of(place);
          const Four<C> shares = records.shares_of(place);
          if (shares.w == 0) continue;
          const int32_t token[4] = {tokens.x, tokens.y, tokens.z, tokens.w};
          const C right = shares.x, left = 1 - right, below = shares.y, above = 1 - below;
          const C share[4] = {above * left, above * right, below * left, below * right};
#pragma unroll
          for (int corner = 0; corner < 4; ++corner) {
            if (token[corner] < 0) continue;
            // Rounded as in backward_kernel: a level's place must not show in exact sums.
            const C contribution[1] = {grad * (shares.w * share[corner])};
            sum.add(sums + (token[corner] - level.start) * channels + channel, contribution);
          }
        }
      }
    }
  }
  __syncthreads();

  for (int32_t i = threadIdx.x; i < elements; i += blockDim.x) {
    if (sums[i] == 0) continue;
    const int64_t token = item * problem.tokens + level.start + i / channels;
    atomicAdd(arguments.sums + (token * problem.heads + head) * channels + i % channels, sums[i]);
  }
}

}  // namespace solq::cuda
