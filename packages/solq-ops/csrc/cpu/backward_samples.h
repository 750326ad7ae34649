// Backward to positions and weights: each query and head gathers the rows of its samples again and
// multiplies them with its output's gradient.
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

// products[corner][k] += output gradient . the corner's values, for `count` vectors of channels.
template <class T, int lanes, int count>
inline void multiply(const Corners<Compute<T>>& corners, int present, int64_t channel,
                     const T* grad_output, Compute<T> (*products)[kChunk]) {
  using C = Compute<T>;
  Vector<C, lanes> grad[count];
  load_run<lanes, count>(grad_output + channel, grad);
  for (int corner = 0; corner < 4; ++corner) {
    for (int first = 0; first < present; first += lanes) {
      Vector<C, lanes> sums[lanes];
      for (int k = 0; k < lanes; ++k) {
        const T* row = at<T>(corners.address[corner][first + k], channel);
        Vector<C, lanes> values[count];
        load_run<lanes, count>(row, values);
        sums[k] = grad[0] * values[0];
        for (int i = 1; i < count; ++i) sums[k] += grad[i] * values[i];
      }
      C* product = products[corner] + first;
      store<lanes>(product, Vector<C, lanes>(load<lanes>(product) + sums_of_lanes<C, lanes>(sums)));
    }
  }
}

// From the corners' products: gradients of positions in pixels and of attention weights.
template <class C>
inline void combine(const Corners<C>& corners, const C (*products)[kChunk], const C* weight,
                    C* grad_x, C* grad_y, C* grad_weight) {
  for (int k = 0; k < kChunk; ++k) {
    const C right = corners.right[k], below = corners.below[k], left = 1 - right, above = 1 - below;
    const C p0 = products[0][k], p1 = products[1][k], p2 = products[2][k], p3 = products[3][k];
    grad_weight[k] = above * (left * p0 + right * p1) + below * (left * p2 + right * p3);
    grad_x[k] = weight[k] * (above * (p1 - p0) + below * (p3 - p2));
    grad_y[k] = weight[k] * (left * (p2 - p0) + right * (p3 - p1));
  }
}

// Gradients with respect to pixels become those of what was given: locations, ...
template <class C>
inline void to_locations(const SampleTable<C>& table, int64_t samples, const Points<C>& grad) {
  for (int64_t k = 0; k < samples; ++k) grad.x[k] *= table.width[k];
  for (int64_t k = 0; k < samples; ++k) grad.y[k] *= table.height[k];
}

// ... or logits (weights are zero behind the last sample, up to a whole vector), ...
template <class C>
inline void to_logits(const C* weights, int64_t samples, C* grad) {
  constexpr int lanes = kLanes<C>;
  using V = Vector<C, lanes>;
  V sums = {};
  for (int64_t k = 0; k < samples; k += lanes)
    sums += load<lanes>(weights + k) * load<lanes>(grad + k);
  const C mean = reduce<C, lanes>(sums, [](auto a, auto b) { return a + b; });
  for (int64_t k = 0; k < samples; ++k) grad[k] = weights[k] * (grad[k] - mean);
}

// ... or, on one axis, offsets and (added to) reference points and the extents of their boxes.
template <class C>
inline void to_offsets(const Problem& problem, const SampleTable<C>& table, const C* sizes,
                       const C* offsets, const C* references, C* grad, C* grad_references) {
  int64_t k = 0;
  for (int32_t l = 0; l < problem.levels; ++l) {
    const int64_t first = k, end = k + problem.points_per_level[l];
    C sum = 0;
    for (; k < end; ++k) sum += grad[k];
    grad_references[l * problem.reference_size] += sum * sizes[first];
    if (problem.reference_size == 4) {
      const C scale = table.offset_scale[first] * sizes[first];
      C moment = 0;
      // A sample that touches nothing has a gradient of zero, whatever its offset and box, which
      // may be NaN or infinite.
      for (k = first; k < end; ++k) moment += grad[k] == 0 ? C(0) : grad[k] * offsets[k];
      grad_references[l * 4 + 2] += moment * scale;
      const C extent = scale * references[l * 4 + 2];
      for (k = first; k < end; ++k) grad[k] = grad[k] == 0 ? C(0) : grad[k] * extent;
    }
  }
}

template <class T>
void backward_samples(const Problem& problem, const Gradients& gradients, int64_t begin,
                      int64_t end) {
  using C = Compute<T>;
  const bool fused = problem.reference_size != 0;
  const SampleTable<C> table(problem);
  Block<C> block(problem, table, 0, problem.samples);
  PointBuffer<C> grad_buffer(table.size, 1);
  const Points<C> grad = grad_buffer[0];
  Buffer<C> pairs(2 * table.size);
  const ValueAddresses<T> addresses(problem);
  const Bands bands(problem);
  // Fused, a task has all heads, whose gradients of a reference point are added in order.
  const int64_t head_groups = fused ? 1 : problem.heads;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t group = task % head_groups, band = task / head_groups % bands.count;
    const int64_t item = task / head_groups / bands.count;
    const int64_t reference_count = problem.levels * problem.reference_size;
    const C* references =
        static_cast<const C*>(problem.reference_points) + item * problem.queries * reference_count;
    C* grad_references =
        static_cast<C*>(gradients.reference_points) + item * problem.queries * reference_count;
    if (fused) {
      bands.for_each_block(band, [&](int64_t query, int64_t queries) {
        std::fill_n(grad_references + query * reference_count, queries * reference_count, C(0));
      });
    }
    for (int64_t head = group; head < (fused ? problem.heads : group + 1); ++head) {
      bands.for_each_block(band, [&](int64_t first_query, int64_t queries) {
        const int64_t first_row = (item * problem.queries + first_query) * problem.heads + head;
        block.load(first_row, queries, addresses.of(item, head), addresses.stride,
                   addresses.outside);
        for (int64_t q = 0; q < queries; ++q) {
          const int64_t row = first_row + q * problem.heads;
          const Points<C> points = block.points(q), offsets = block.offsets(q);
          const T* grad_output = grad_output_of<T>(problem, gradients, row);
          block.for_each_chunk(q, [&](const Corners<C>& corners, int64_t first, int present) {
            C products[4][kChunk] = {};
            pass_over_channels<C>(problem.channels, [&](auto lanes, auto count, int64_t channel) {
              multiply<T, lanes(), count()>(corners, present, channel, grad_output, products);
            });
            combine(corners, products, points.weight + first, grad.x + first, grad.y + first,
                    grad.weight + first);
          });
          if (fused) {
            const C* reference = references + (first_query + q) * reference_count;
            C* grad_reference = grad_references + (first_query + q) * reference_count;
            to_logits(points.weight, problem.samples, grad.weight);
            to_offsets(problem, table, table.width, offsets.x, reference, grad.x, grad_reference);
            to_offsets(problem, table, table.height, offsets.y, reference + 1, grad.y,
                       grad_reference + 1);
          } else {
            to_locations(table, problem.samples, grad);
          }
          join_coordinates(grad.x, grad.y, problem.samples, pairs.get());
          store_numbers(pairs.get(), fused ? problem.aux_dtype : kComputeDtype<C>,
                        2 * row * problem.samples, 2 * problem.samples, gradients.coordinates);
          store_numbers(grad.weight, problem.aux_dtype, row * problem.samples, problem.samples,
                        gradients.weights);
        }
      });
    }
  }
}

}  // namespace solq::SOLQ_ISA
