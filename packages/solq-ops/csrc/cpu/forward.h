// Forward: each query and head gathers the rows of its samples into its output.
#pragma once

#include <algorithm>
#include <cstdint>

#include "block.h"
#include "channels.h"
#include "problem.h"
#include "samples.h"
#include "simd.h"
#include "tasks.h"

namespace solq::SOLQ_ISA {

// Adds the samples of a chunk, weighed, for `count` vectors of channels.
template <class T, int lanes, int count>
inline void gather(const Corners<Compute<T>>& corners, int present, int64_t channel,
                   Vector<Compute<T>, lanes> (*sums)[count]) {
  for (int k = 0; k < present; ++k) {
    for (int corner = 0; corner < 4; ++corner) {
      const auto weight = corners.weight[corner][k];
      Vector<Compute<T>, lanes> values[count];
      load_run<lanes, count>(at<T>(corners.address[corner][k], channel), values);
      for (int i = 0; i < count; ++i) sums[corner % 2][i] += weight * values[i];
    }
  }
}

template <class T>
void forward(const Problem& problem, void* output, int64_t begin, int64_t end) {
  using C = Compute<T>;
  const SampleTable<C> table(problem);
  Block<C> block(problem, table, 0, problem.samples);
  const ValueAddresses<T> addresses(problem);
  const Bands bands(problem);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t head = task % problem.heads, band = task / problem.heads % bands.count;
    const int64_t item = task / problem.heads / bands.count;
    bands.for_each_block(band, [&](int64_t query, int64_t queries) {
      const int64_t row = (item * problem.queries + query) * problem.heads + head;
      block.load(row, queries, addresses.of(item, head), addresses.stride, addresses.outside);
      for (int64_t q = 0; q < queries; ++q) {
        T* out = static_cast<T*>(output) + (row + q * problem.heads) * problem.channels;
        pass_over_channels<C>(problem.channels, [&](auto lanes, auto count, int64_t channel) {
          // Two chains of additions, because one would wait for the latency of each.
          Vector<C, lanes()> sums[2][count()] = {};
          block.for_each_chunk(q, [&](const Corners<C>& corners, int64_t, int present) {
            gather<T, lanes(), count()>(corners, present, channel, sums);
          });
          for (int i = 0; i < count; ++i) sums[0][i] += sums[1][i];
          store_run<lanes(), count()>(out + channel, sums[0]);
        });
      }
    });
  }
}

}  // namespace solq::SOLQ_ISA
