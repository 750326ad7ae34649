// Backward to values: each query and head scatters its output's gradient to the rows of its
// samples.
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

// Adds weight * the output gradient to the four rows of each sample.
template <class T, int lanes, int count>
inline void scatter(const Corners<Compute<T>>& corners, int present, int64_t channel,
                    const T* grad_output) {
  using C = Compute<T>;
  Vector<C, lanes> grad[count];
  for (int i = 0; i < count; ++i) grad[i] = load<lanes>(grad_output + channel + i * lanes);
  for (int k = 0; k < present; ++k) {
    for (int corner = 0; corner < 4; ++corner) {
      C* row = const_cast<C*>(at<C>(corners.address[corner][k], channel));
      const C weight = corners.weight[corner][k];
      for (int i = 0; i < count; ++i) {
        C* sum = row + i * lanes;
        store<lanes>(sum, Vector<C, lanes>(load<lanes>(sum) + weight * grad[i]));
      }
    }
  }
}

// Contiguous sums to rows that are `stride` elements apart.
template <class T>
inline void write_rows(const Compute<T>* sums, int64_t rows, int64_t channels, int64_t stride,
                       bool is_streamed, T* to) {
  using C = Compute<T>;
  if constexpr (std::is_same_v<T, float>) {
    constexpr int lanes = kLanes<float>;
    const bool is_aligned = reinterpret_cast<uint64_t>(to) % SOLQ_VECTOR_BYTES == 0;
    if (is_streamed && is_aligned && channels % lanes == 0) {
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t i = 0; i < channels; i += lanes) {
          stream<lanes>(to + row * stride + i, load<lanes>(sums + row * channels + i));
        }
      }
      return;
    }
  }
  for (int64_t row = 0; row < rows; ++row) {
    convert_to<C>(sums + row * channels, channels, to + row * stride);
  }
}

// From this many bytes on, the gradient of values is written past the caches.
constexpr int64_t kStreamedBytes = 4 << 20;

template <class T>
void backward_value(const Problem& problem, const Gradients& gradients, int64_t threads,
                    int64_t begin, int64_t end) {
  using C = Compute<T>;
  const SampleTable<C> table(problem);
  const Bands bands(problem);
  const LevelGroups groups(problem, threads);
  // One head of one group of levels, contiguous, so that it stays in the caches: value's layout
  // has the heads side by side. A row for pixels outside follows.
  const int64_t channels = problem.channels;
  const auto stride = static_cast<uint32_t>(channels * sizeof(C));
  const bool is_streamed =
      problem.batch * problem.tokens * problem.heads * channels * sizeof(T) > kStreamedBytes;
  Buffer<C> sums((groups.largest() + 1) * channels);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t group = task % groups.count, head = task / groups.count % problem.heads;
    const int64_t item = task / groups.count / problem.heads;
    const int64_t first_token = groups.first_token(group), tokens = groups.tokens(group);
    Block<C> block(problem, table, groups.first_sample(group), groups.end_sample(group));
    std::fill_n(sums.get(), (tokens + 1) * channels, C(0));
    const auto outside = reinterpret_cast<uint64_t>(sums.get() + tokens * channels);
    const auto base = reinterpret_cast<uint64_t>(sums.get()) - first_token * stride;
    for (int64_t band = 0; band < bands.count; ++band) {
      bands.for_each_block(band, [&](int64_t query, int64_t queries) {
        const int64_t row = (item * problem.queries + query) * problem.heads + head;
        block.load(row, queries, base, stride, outside);
        for (int64_t q = 0; q < queries; ++q) {
          const T* grad_output = grad_output_of<T>(problem, gradients, row + q * problem.heads);
          block.for_each_chunk(q, [&](const Corners<C>& corners, int64_t, int present) {
            pass_over_channels<C>(channels, [&](auto lanes, auto count, int64_t channel) {
              scatter<T, lanes(), count()>(corners, present, channel, grad_output);
            });
          });
        }
      });
    }
    T* grad_value = static_cast<T*>(gradients.value) +
                    ((item * problem.tokens + first_token) * problem.heads + head) * channels;
    write_rows(sums.get(), tokens, channels, problem.heads * channels, is_streamed, grad_value);
  }
  end_streams();
}

}  // namespace solq::SOLQ_ISA
