// One call of the operator as plain sizes and addresses: what the kernels of both devices take.
// No torch in here, so that the kernels compile, and are tested, without it.
#pragma once

#include <cstdint>

namespace solq {

// Of one head. What lies outside a level is read from a static row of this many zeros.
constexpr int64_t kMaxChannels = 1024;

enum class Dtype : int32_t { kFloat64, kFloat32, kBFloat16, kFloat16 };

// Where a query reads, and with which weights. All tensors are contiguous and on the kernel's
// device, except points_per_level, which is always in host memory. "compute" is double beside
// double values and float beside all others; "aux" is the dtype of values or compute, as aux_dtype
// says.
struct Problem {
  int64_t batch, tokens, heads, channels, queries;
  int64_t samples;  // of one query and head: the sum of points_per_level
  int32_t levels;
  int32_t reference_size;  // 0: sampling locations are given; 2 or 4: fused, with reference points
  Dtype value_dtype;
  Dtype aux_dtype;
  const int64_t* spatial_shapes;     // [levels, 2], (height, width)
  const int64_t* level_start_index;  // [levels]
  const int64_t* points_per_level;   // [levels], host memory
  const void* value;                 // [batch, tokens, heads, channels]
  const void* reference_points;      // fused: compute [batch, queries, levels, reference_size]
  const void* coordinates;  // [batch, queries, heads, samples, 2], (x, y): compute locations in
                            // 0..1, or, fused, aux sampling offsets
  const void*
      weights;  // aux [batch, queries, heads, samples]: attention weights, or, fused, logits
};

// What the backward pass reads and writes beside the problem. Every element of a gradient is
// written.
struct Gradients {
  const void* output;      // [batch, queries, heads, channels], dtype of values
  void* value;             // [batch, tokens, heads, channels], dtype of values
  void* reference_points;  // fused: like Problem::reference_points
  void* coordinates;       // like Problem::coordinates
  void* weights;           // like Problem::weights
};

}  // namespace solq
