// The levels of a call, checked and staged in shared memory; which queries a block takes.
#pragma once

#include "plan.h"
#include "platform.cuh"

namespace solq::cuda {

struct Level {
  int32_t start;
  int32_t height;  // 0: the level reaches outside the tokens. Nothing reads or writes it, and every
  int32_t width;   // query with a point on it becomes NaN: loud, without a synchronisation.
  int32_t first_sample;
  int32_t end_sample;
};

__host__ __device__ constexpr size_t level_bytes(int32_t levels) {
  return (levels * sizeof(Level) + 15) / 16 * 16;  // what follows starts at 16 bytes
}

// All threads of the block take part, and meet afterwards.
__device__ inline void stage_levels(const KernelArguments& arguments, Level* levels) {
  const Problem& problem = arguments.problem;
  for (int32_t i = threadIdx.x; i < problem.levels; i += blockDim.x) {
    const int64_t start = problem.level_start_index[i];
    const int64_t height = problem.spatial_shapes[2 * i];
    const int64_t width = problem.spatial_shapes[2 * i + 1];
    // In this order no step can overflow, whatever the numbers.
    const int64_t room = start >= 0 ? problem.tokens - start : -1;
    const bool sound = height >= 1 && width >= 1 && width <= room && height <= room / width;
    Level level{};
    if (sound) {
      level.start = static_cast<int32_t>(start);
      level.height = static_cast<int32_t>(height);
      level.width = static_cast<int32_t>(width);
    }
    level.first_sample = i == 0 ? 0 : arguments.sample_ends[i - 1];
    level.end_sample = arguments.sample_ends[i];
    levels[i] = level;
  }
  __syncthreads();
}

// The query at a place of a tile; -1: none. In an encoder each query is a cell of a map, and tiles
// are rectangles of them, so that a block's queries read the same neighbourhood. Elsewhere, and
// where maps are so thin that rectangles would be more than the grid has blocks, queries follow one
// another.
__device__ inline int32_t query_of(const KernelArguments& arguments, const Level* levels,
                                   int32_t tile, int32_t place) {
  const Tile& plan = arguments.tile;
  const Problem& problem = arguments.problem;
  const auto rows = [&](const Level& level) {
    return (level.height + (1 << plan.height_log2) - 1) >> plan.height_log2;
  };
  const auto columns = [&](const Level& level) {
    return (level.width + (1 << plan.width_log2) - 1) >> plan.width_log2;
  };

  bool is_encoder = problem.queries == problem.tokens;
  int32_t covered = 0;
  int64_t rectangles = 0;
#pragma unroll 1
  for (int32_t i = 0; i < problem.levels && is_encoder; ++i) {
    is_encoder = levels[i].height > 0 && levels[i].start == covered;
    covered += levels[i].height * levels[i].width;
    rectangles += static_cast<int64_t>(rows(levels[i])) * columns(levels[i]);
  }
  if (!is_encoder || covered != problem.tokens || rectangles > plan.tiles) {
    const int64_t first = static_cast<int64_t>(tile) << (plan.width_log2 + plan.height_log2);
    return first + place < problem.queries ? static_cast<int32_t>(first) + place : -1;
  }
  if (tile >= rectangles) return -1;
  int32_t rest = tile;
  const Level* level = levels;
#pragma unroll 1
  for (int32_t of_level; rest >= (of_level = rows(*level) * columns(*level)); ++level) {
    rest -= of_level;
  }
  const int32_t row = rest / columns(*level);
  const int32_t column = rest - row * columns(*level);
  const int32_t y = (row << plan.height_log2) + (place >> plan.width_log2);
  const int32_t x = (column << plan.width_log2) + (place & ((1 << plan.width_log2) - 1));
  return y < level->height && x < level->width ? level->start + y * level->width + x : -1;
}

}  // namespace solq::cuda
