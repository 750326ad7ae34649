// How a call is laid out on the device: plain arithmetic on the host, so that it is tested there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>

#include "../problem.h"

namespace solq::cuda {

constexpr int32_t kWarp = 32;
constexpr int32_t kMaxThreads = 256;
constexpr int32_t kMaxLevels = 256;
// Each lane prepares this many samples between two gathers; a warp so holds 64 records (2 KiB) in
// shared memory, whatever its teams: little enough to leave most of the 256 KiB to the L1 cache.
constexpr int32_t kSamplesPerLane = 2;
constexpr int32_t kRecordsPerWarp = kWarp * kSamplesPerLane;
// Accesses of a lane to one row, where nothing better is known for the number of channels.
constexpr int32_t kGeneralChunks = 4;

struct Device {
  int32_t multiprocessors;
  int32_t shared_bytes;     // that a block may ask for
  int32_t on_chip_queries;  // fewer of them do not repay clearing and adding up sums on chip
};

constexpr int32_t kOnChipQueries = 2048;

// The lanes that serve one (query, head), a "team": lane j moves the chunks j, j + lanes, … of a
// row, each of one access. A power of two of lanes keeps teams inside warps.
struct Mapping {
  int32_t lanes;
  int32_t chunks;  // of each lane
};

// 48 channels are 12 chunks of float32, 4 lanes x 3, or 6 of 16 bits, 2 lanes x 3: no lane idles.
// {0, 0}: not a tuned number of channels.
constexpr Mapping tuned_mapping(int32_t value_bytes, int64_t channels) {
  if (value_bytes == 4) {
    if (channels == 32) return {8, 1};
    if (channels == 48) return {4, 3};
    if (channels == 64) return {8, 2};
  } else if (value_bytes == 2) {
    if (channels == 32) return {4, 1};
    if (channels == 48) return {2, 3};
    if (channels == 64) return {8, 1};
  }
  return {0, 0};
}

// What the kernels of a call share: the mapping of rows to lanes, of teams to queries and heads.
struct Tile {
  int32_t access_bytes;
  bool tuned;
  Mapping mapping;
  int32_t slices;  // of a row, lanes x chunks accesses each
  int32_t threads;
  int32_t heads;        // of a block, a power of two
  int32_t width_log2;   // of a block's queries, where they are the cells of a map …
  int32_t height_log2;  // … and their product everywhere
  int32_t head_blocks;
  int32_t tiles;  // of queries
};

// A kernel's arguments. Levels' sizes are on the device; points per level are the host's to give.
struct KernelArguments {
  Problem problem;
  Tile tile;
  int32_t sample_ends[kMaxLevels];  // of each level, in 0 … samples
};

inline int32_t value_bytes(const Problem& problem) {
  switch (problem.value_dtype) {
    case Dtype::kFloat64: return 8;
    case Dtype::kFloat32: return 4;
    default: return 2;
  }
}

inline int32_t compute_bytes(const Problem& problem) {
  return problem.value_dtype == Dtype::kFloat64 ? 8 : 4;
}

inline int64_t ceil_div(int64_t total, int64_t part) { return (total + part - 1) / part; }

// The widest access that rows of all these tensors allow: they start at multiples of it.
inline int32_t access_bytes(const Problem& problem, std::initializer_list<const void*> tensors) {
  uint64_t starts = static_cast<uint64_t>(problem.channels) * value_bytes(problem) | 16;
  for (const void* tensor : tensors) starts |= reinterpret_cast<uint64_t>(tensor);
  return static_cast<int32_t>(starts & -starts);
}

inline Mapping general_mapping(int64_t accesses) {
  Mapping mapping{1, kGeneralChunks};
  while (mapping.lanes < kWarp && mapping.lanes * mapping.chunks < accesses) mapping.lanes *= 2;
  return mapping;
}

// A block takes as many heads as make whole 128-byte lines of a token's rows (2 for 48 channels of
// float32, 4 in 16 bits): it reads lines to their ends, and teams side by side read different banks
// of L1. All other teams are further queries, because neighbouring queries of one head read the
// same rows: where points lie up to 4 cells away, 8 x 4 queries of 2 heads read each row of the
// finest level that they touch 2.7 times on average, 8 queries of 8 heads 0.9 times.
inline int32_t heads_of_block(const Problem& problem) {
  constexpr int64_t kLine = 128;
  const int64_t row = problem.channels * value_bytes(problem);
  int32_t heads = 1;
  while (heads < 8 && heads < problem.heads && heads * row % kLine != 0) heads *= 2;
  return heads;
}

inline void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

// sliced: blocks share the slices of rows among them (forward), or each block does all (backward).
inline Tile plan_tile(const Problem& problem, int32_t access, bool sliced, const Device& device) {
  Tile tile{};
  tile.access_bytes = access;
  const int64_t accesses = problem.channels * value_bytes(problem) / access;
  tile.mapping = access == 16 ? tuned_mapping(value_bytes(problem), problem.channels) : Mapping{};
  tile.tuned = tile.mapping.lanes > 0;
  if (!tile.tuned) tile.mapping = general_mapping(accesses);
  tile.slices = static_cast<int32_t>(ceil_div(accesses, tile.mapping.lanes * tile.mapping.chunks));
  tile.heads = heads_of_block(problem);
  tile.head_blocks = static_cast<int32_t>(ceil_div(problem.heads, tile.heads));

  // Large blocks for L1, but rather small ones than idle multiprocessors (a decoder's few queries).
  const int64_t rest = problem.batch * tile.head_blocks * (sliced ? tile.slices : 1);
  const int32_t smallest = tile.mapping.lanes * tile.heads;
  tile.threads = kMaxThreads;
  auto queries = [&] { return tile.threads / smallest; };
  while (tile.threads > kWarp && tile.threads > smallest &&
         ceil_div(problem.queries, queries()) * rest < 2 * device.multiprocessors) {
    tile.threads /= 2;
  }
  for (int32_t left = queries(); left > 1; left /= 2) {
    ++(tile.width_log2 > tile.height_log2 ? tile.height_log2 : tile.width_log2);
  }
  int64_t tiles = ceil_div(problem.queries, queries());
  // Rectangles that stick out of their maps are more than the queries alone would need.
  if (problem.queries == problem.tokens) tiles += tiles / 4 + problem.levels;
  require(tiles * rest <= INT32_MAX, "batch * queries * heads is too large for one launch");
  tile.tiles = static_cast<int32_t>(tiles);
  return tile;
}

inline int64_t grid_blocks(const Problem& problem, const Tile& tile, bool sliced) {
  return problem.batch * tile.head_blocks * (sliced ? tile.slices : 1) * tile.tiles;
}

inline KernelArguments plan_arguments(const Problem& problem, const Tile& tile) {
  require(problem.levels <= kMaxLevels, "at most 256 levels are supported");
  require(problem.tokens <= INT32_MAX, "at most 2^31 - 1 tokens are supported");
  require(problem.batch * problem.queries <= INT32_MAX,
          "at most 2^31 - 1 queries of all items together are supported");
  require(problem.samples <= INT32_MAX, "at most 2^31 - 1 points are supported");
  require(problem.heads * problem.channels <= INT32_MAX / 8,  // of 64-bit sums
          "a token of more than 2^31 - 1 bytes is not supported");
  KernelArguments arguments{problem, tile, {}};
  int64_t end = 0;
  for (int32_t level = 0; level < problem.levels; ++level) {
    end += problem.points_per_level[level];
    arguments.sample_ends[level] = static_cast<int32_t>(end);
  }
  return arguments;
}

// What the backward pass keeps beside its results, in one allocation; offsets in bytes.
struct Workspace {
  size_t maxima;      // deterministic: the largest |grad_output| and |weight|
  size_t sums;        // of grad_value, where they are not made in place
  size_t references;  // fused: compute [batch, queries, heads, levels, reference_size]
  size_t weights;     // fused: gradients of the weights, where weights have only 16 bits
  size_t bytes;
  int32_t sum_bytes;   // of one element's sum
  bool sums_in_place;  // in Gradients::value
};

inline Workspace plan_workspace(const Problem& problem, bool deterministic) {
  constexpr size_t kAlignment = 256;
  Workspace workspace{};
  auto take = [&](int64_t bytes) {
    const size_t offset = workspace.bytes;
    workspace.bytes += ceil_div(bytes, kAlignment) * kAlignment;
    return offset;
  };
  const int32_t compute = compute_bytes(problem);
  const bool fused = problem.reference_size > 0;
  const int64_t rows = problem.batch * problem.queries * problem.heads;
  workspace.sum_bytes = deterministic ? 8 : compute;
  workspace.sums_in_place = !deterministic && value_bytes(problem) == compute;
  workspace.maxima = take(deterministic ? 2 * sizeof(uint64_t) : 0);
  workspace.sums = take(workspace.sums_in_place ? 0
                                                : problem.batch * problem.tokens * problem.heads *
                                                      problem.channels * workspace.sum_bytes);
  workspace.references = take(fused ? rows * problem.levels * problem.reference_size * compute : 0);
  const bool narrow = problem.aux_dtype == Dtype::kBFloat16 || problem.aux_dtype == Dtype::kFloat16;
  workspace.weights = take(fused && narrow ? rows * problem.samples * compute : 0);
  return workspace;
}

inline size_t workspace_bytes(const Problem& problem, bool deterministic) {
  return plan_workspace(problem, deterministic).bytes;
}

// Coarse levels get most additions per element; their sums can be made in shared memory by blocks
// that do nothing else. Which levels fit is known on the device only: it is told how much fits.
struct OnChip {
  int32_t tokens;  // of a level, at most; 0: no sums are made on chip
  int32_t bytes;   // for their sums
  int32_t lanes;   // along the channels
  int32_t shares;  // of the queries, one block each
};

// As many as leave room on Hopper for 25 x 42 pixels of 48 channels, the third level of SOLQ's
// images.
constexpr int32_t kOnChipThreads = 384;

inline OnChip plan_on_chip(const Problem& problem, int32_t sum_bytes, size_t staging_bytes,
                           const Device& device) {
  constexpr int64_t kMinShare = 256;
  OnChip plan{};
  const int64_t room = device.shared_bytes - static_cast<int64_t>(staging_bytes);
  if (problem.queries < device.on_chip_queries || room <= 0) return plan;
  plan.bytes = static_cast<int32_t>(room) & ~15;
  plan.tokens = plan.bytes / static_cast<int32_t>(problem.channels * sum_bytes);
  plan.lanes = 1;
  while (plan.lanes < kWarp && (problem.channels % (plan.lanes * 2) == 0 || plan.lanes < 8)) {
    plan.lanes *= 2;
  }
  const int64_t wanted = ceil_div(device.multiprocessors, problem.batch * problem.heads);
  const int64_t most = ceil_div(problem.queries, kMinShare);
  plan.shares = static_cast<int32_t>(wanted < most ? wanted : most);
  return plan;
}

}  // namespace solq::cuda
