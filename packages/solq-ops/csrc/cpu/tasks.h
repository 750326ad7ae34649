// How the work is cut into tasks, and in which order a task goes through the queries.
#pragma once

#include <algorithm>

#include "problem.h"

namespace solq::SOLQ_ISA {

// Queries whose points are loaded before the first of them is gathered or scattered. A load behind
// many stores waits for those whose addresses end like its own; one wait for a block of queries,
// where there was one for each, halved the time of the backward pass to values. Not a power of two:
// gradients lie at the offsets of what they are gradients of, and the loads of one block would end
// like the stores of the block before.
constexpr int64_t kQueriesPerBlock = 7;

// Where every token is a query, as in an encoder, queries close to each other in the image read the
// same pixels. So a band is a strip of the image with its queries of all levels; going through the
// bands, a head's rows of pixels enter the cache about once. Elsewhere a band is a run of queries.
// This is a matter of speed only: queries may mean anything.
class Bands {
 public:
  explicit Bands(const Problem& problem)
      : problem_(problem), is_image_(problem.queries == problem.tokens) {
    int64_t rows = problem.queries;
    if (is_image_) {
      rows = 0;
      for (int32_t l = 0; l < problem.levels; ++l) {
        rows = std::max(rows, problem.spatial_shapes[2 * l]);
      }
    }
    const int64_t rows_per_band = is_image_ ? 4 : 32;
    count = (rows + rows_per_band - 1) / rows_per_band;
  }

  // Calls function(first query, queries) for the blocks of queries of a band.
  template <class Function>
  void for_each_block(int64_t band, Function&& function) const {
    const auto cut = [&](int64_t first, int64_t end) {
      for (; first < end; first += kQueriesPerBlock) {
        function(first, std::min(end - first, kQueriesPerBlock));
      }
    };
    if (!is_image_) {
      cut(problem_.queries * band / count, problem_.queries * (band + 1) / count);
      return;
    }
    for (int32_t l = 0; l < problem_.levels; ++l) {
      const int64_t rows = problem_.spatial_shapes[2 * l];
      const int64_t columns = problem_.spatial_shapes[2 * l + 1];
      const int64_t start = problem_.level_start_index[l];
      cut(start + rows * band / count * columns, start + rows * (band + 1) / count * columns);
    }
  }

  int64_t count;

 private:
  const Problem& problem_;
  bool is_image_;
};

// The gradient of values is summed by one task for each item, head and group of levels: all levels
// where items and heads are enough for the threads, else one level. Either way the additions to an
// element come in the same order.
class LevelGroups {
 public:
  LevelGroups(const Problem& problem, int64_t threads)
      : problem_(problem), count(problem.batch * problem.heads >= threads ? 1 : problem.levels) {}

  int32_t end_level(int64_t group) const {
    return count == 1 ? problem_.levels : static_cast<int32_t>(group) + 1;
  }
  int64_t first_token(int64_t group) const { return problem_.level_start_index[group]; }
  int64_t tokens(int64_t group) const {
    const int32_t last = end_level(group) - 1;
    return problem_.level_start_index[last] - first_token(group) +
           problem_.spatial_shapes[2 * last] * problem_.spatial_shapes[2 * last + 1];
  }
  int64_t largest() const {
    int64_t most = 0;
    for (int64_t group = 0; group < count; ++group) most = std::max(most, tokens(group));
    return most;
  }
  int64_t first_sample(int64_t group) const { return samples_before(static_cast<int32_t>(group)); }
  int64_t end_sample(int64_t group) const { return samples_before(end_level(group)); }

 private:
  int64_t samples_before(int32_t level) const {
    int64_t samples = 0;
    for (int32_t l = 0; l < level; ++l) samples += problem_.points_per_level[l];
    return samples;
  }

  const Problem& problem_;

 public:
  const int64_t count;
};

}  // namespace solq::SOLQ_ISA
