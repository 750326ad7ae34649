// A few queries of one head, with all their points and corners at hand before the first of them is
// gathered or scattered.
#pragma once

#include <cstdint>

#include "problem.h"
#include "samples.h"
#include "tasks.h"

namespace solq::SOLQ_ISA {

template <class C>
class Block {
 public:
  // For the samples from `first_sample` to before `end_sample`.
  Block(const Problem& problem, const SampleTable<C>& table, int64_t first_sample,
        int64_t end_sample)
      : problem_(problem),
        table_(table),
        first_sample_(first_sample),
        end_sample_(end_sample),
        chunks_((end_sample - first_sample + kChunk - 1) / kChunk),
        points_(table.size, kQueriesPerBlock),
        offsets_(table.size, problem.reference_size == 4 ? kQueriesPerBlock : 0),
        corners_(chunks_ * kQueriesPerBlock) {}

  // `row` is that of the first query, (item * queries + query) * heads + head; for the addresses
  // see locate().
  void load(int64_t row, int64_t queries, uint64_t base, uint32_t stride, uint64_t outside) {
    for (int64_t q = 0; q < queries; ++q) {
      const Points<C> points = points_[q];
      load_points(problem_, table_, row + q * problem_.heads, points, offsets_[q]);
      for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
        locate(table_, points, first_sample_ + chunk * kChunk, base, stride, outside,
               corners_.get()[q * chunks_ + chunk]);
      }
    }
  }

  Points<C> points(int64_t q) { return points_[q]; }
  Points<C> offsets(int64_t q) { return offsets_[q]; }

  // Calls function(corners, first sample, samples present) for the chunks of query q.
  template <class Function>
  void for_each_chunk(int64_t q, Function&& function) const {
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      const int64_t first = first_sample_ + chunk * kChunk;
      const auto present = static_cast<int>(std::min<int64_t>(end_sample_ - first, kChunk));
      function(corners_.get()[q * chunks_ + chunk], first, present);
    }
  }

 private:
  const Problem& problem_;
  const SampleTable<C>& table_;
  const int64_t first_sample_, end_sample_, chunks_;
  PointBuffer<C> points_;
  PointBuffer<C> offsets_;
  Buffer<Corners<C>> corners_;
};

}  // namespace solq::SOLQ_ISA
