// The operators as torch calls them: alike on every device but for the two functions that compute.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "problem.h"
#include "torch_arguments.h"

namespace solq {

// What a backward pass fills.
struct GradientTensors {
  explicit GradientTensors(const Arguments& arguments)
      : value(torch::stable::empty_like(arguments.value)),
        coordinates(torch::stable::empty_like(arguments.coordinates)),
        weights(torch::stable::empty_like(arguments.weights)) {
    if (arguments.is_fused()) {
      reference_points = torch::stable::empty_like(*arguments.reference_points);
    }
  }

  Gradients addresses(const Tensor& grad_output) const {
    return {grad_output.const_data_ptr(), value.mutable_data_ptr(),
            reference_points.has_value() ? reference_points->mutable_data_ptr() : nullptr,
            coordinates.mutable_data_ptr(), weights.mutable_data_ptr()};
  }

  Tensor value;
  std::optional<Tensor> reference_points;
  Tensor coordinates;
  Tensor weights;
};

// Schemas are defined in Python, which also runs where a device's library is absent.
template <Tensor (*forward)(const Arguments&),
          GradientTensors (*backward)(const Arguments&, const Tensor& grad_output,
                                      bool deterministic)>
struct Operators {
  static Tensor ms_deform_attn(const Tensor& value, const Tensor& spatial_shapes,
                               const Tensor& level_start_index, const Tensor& sampling_locations,
                               const Tensor& attention_weights,
                               std::vector<int64_t> points_per_level) {
    return forward({value, spatial_shapes, level_start_index, std::nullopt, sampling_locations,
                    attention_weights, std::move(points_per_level)});
  }

  static std::tuple<Tensor, Tensor, Tensor> ms_deform_attn_backward(
      const Tensor& grad_output, const Tensor& value, const Tensor& spatial_shapes,
      const Tensor& level_start_index, const Tensor& sampling_locations,
      const Tensor& attention_weights, std::vector<int64_t> points_per_level, bool deterministic) {
    const GradientTensors grads =
        backward({value, spatial_shapes, level_start_index, std::nullopt, sampling_locations,
                  attention_weights, std::move(points_per_level)},
                 grad_output, deterministic);
    return {grads.value, grads.coordinates, grads.weights};
  }

  static Tensor ms_deform_attn_fused(const Tensor& value, const Tensor& spatial_shapes,
                                     const Tensor& level_start_index,
                                     const Tensor& reference_points, const Tensor& sampling_offsets,
                                     const Tensor& attention_logits,
                                     std::vector<int64_t> points_per_level) {
    return forward({value, spatial_shapes, level_start_index, reference_points, sampling_offsets,
                    attention_logits, std::move(points_per_level)});
  }

  static std::tuple<Tensor, Tensor, Tensor, Tensor> ms_deform_attn_fused_backward(
      const Tensor& grad_output, const Tensor& value, const Tensor& spatial_shapes,
      const Tensor& level_start_index, const Tensor& reference_points,
      const Tensor& sampling_offsets, const Tensor& attention_logits,
      std::vector<int64_t> points_per_level, bool deterministic) {
    const GradientTensors grads =
        backward({value, spatial_shapes, level_start_index, reference_points, sampling_offsets,
                  attention_logits, std::move(points_per_level)},
                 grad_output, deterministic);
    return {grads.value, *grads.reference_points, grads.coordinates, grads.weights};
  }

  static void add_to(torch::stable::detail::StableLibrary& library) {
    library.impl("ms_deform_attn", TORCH_BOX(&ms_deform_attn));
    library.impl("ms_deform_attn_backward", TORCH_BOX(&ms_deform_attn_backward));
    library.impl("ms_deform_attn_fused", TORCH_BOX(&ms_deform_attn_fused));
    library.impl("ms_deform_attn_fused_backward", TORCH_BOX(&ms_deform_attn_fused_backward));
  }
};

}  // namespace solq
