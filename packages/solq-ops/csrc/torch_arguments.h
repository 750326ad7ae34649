// Tensors → Problem: the checks without which a kernel would read or write outside its arguments.
// The Python functions check more and say it better; these hold also where an operator is called
// directly. Shared by both devices; only the stable ABI of libtorch is used.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "problem.h"

namespace solq {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline Dtype dtype_of(const Tensor& tensor, const char* name) {
  switch (tensor.scalar_type()) {
    case ScalarType::Double: return Dtype::kFloat64;
    case ScalarType::Float: return Dtype::kFloat32;
    case ScalarType::BFloat16: return Dtype::kBFloat16;
    case ScalarType::Half: return Dtype::kFloat16;
    default: break;
  }
  STD_TORCH_CHECK(false, name, " must be float64, float32, bfloat16 or float16");
}

inline void check_shape(const Tensor& tensor, const char* name,
                        std::initializer_list<int64_t> expected) {
  bool agrees = tensor.dim() == static_cast<int64_t>(expected.size());
  int64_t axis = 0;
  std::string text;
  for (int64_t size : expected) {
    agrees = agrees && tensor.size(axis) == size;
    text += (axis++ == 0 ? "" : ", ") + std::to_string(size);
  }
  STD_TORCH_CHECK(agrees, name, " must be [", text, "]");
}

// The arguments of a call, contiguous, and the problem that points into them.
class Arguments {
 public:
  // Unfused without reference points: coordinates are sampling locations and weights attention
  // weights. Fused with them: sampling offsets and attention logits.
  Arguments(const Tensor& value, const Tensor& spatial_shapes, const Tensor& level_start_index,
            const std::optional<Tensor>& reference_points, const Tensor& coordinates,
            const Tensor& weights, std::vector<int64_t> points_per_level)
      : value(contiguous_on(value, value, "value")),
        coordinates(contiguous_on(value, coordinates, "sampling locations or offsets")),
        weights(contiguous_on(value, weights, "attention weights or logits")),
        spatial_shapes_(contiguous_on(value, spatial_shapes, "spatial_shapes")),
        level_start_index_(contiguous_on(value, level_start_index, "level_start_index")),
        points_per_level_(std::move(points_per_level)) {
    if (reference_points.has_value()) {
      this->reference_points = contiguous_on(value, *reference_points, "reference_points");
    }
    set_sizes();
    check_shapes();
    set_dtypes();
    problem.spatial_shapes = spatial_shapes_.const_data_ptr<int64_t>();
    problem.level_start_index = level_start_index_.const_data_ptr<int64_t>();
    problem.points_per_level = points_per_level_.data();
    problem.value = this->value.const_data_ptr();
    problem.reference_points = is_fused() ? this->reference_points->const_data_ptr() : nullptr;
    problem.coordinates = this->coordinates.const_data_ptr();
    problem.weights = this->weights.const_data_ptr();
  }
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;

  bool is_fused() const { return reference_points.has_value(); }

  Tensor new_output() const {
    return torch::stable::new_empty(
        value, {problem.batch, problem.queries, problem.heads * problem.channels});
  }

  // The output's gradient as the kernels read it.
  Tensor checked_gradient(const Tensor& grad_output) const {
    check_shape(grad_output, "grad_output",
                {problem.batch, problem.queries, problem.heads * problem.channels});
    STD_TORCH_CHECK(grad_output.scalar_type() == value.scalar_type(),
                    "grad_output must have the dtype of value");
    return contiguous_on(value, grad_output, "grad_output");
  }

  Tensor value;
  std::optional<Tensor> reference_points;
  Tensor coordinates;
  Tensor weights;
  Problem problem = {};

 private:
  static Tensor contiguous_on(const Tensor& device_of, const Tensor& tensor, const char* name) {
    STD_TORCH_CHECK(tensor.device() == device_of.device(), name, " must be on the device of value");
    return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
  }

  void set_sizes() {
    STD_TORCH_CHECK(value.dim() == 4, "value must be [batch, tokens, heads, channels]");
    STD_TORCH_CHECK(coordinates.dim() == 5,
                    "sampling locations or offsets must be [batch, queries, heads, samples, 2]");
    problem.batch = value.size(0);
    problem.tokens = value.size(1);
    problem.heads = value.size(2);
    problem.channels = value.size(3);
    problem.queries = coordinates.size(1);
    problem.levels = static_cast<int32_t>(points_per_level_.size());
    for (int64_t points : points_per_level_) {
      STD_TORCH_CHECK(points >= 0, "points_per_level must not be negative");
      problem.samples += points;
    }
    problem.reference_size = is_fused() && reference_points->dim() == 4
                                 ? static_cast<int32_t>(reference_points->size(3))
                                 : 0;
    STD_TORCH_CHECK(problem.heads >= 1 && problem.samples >= 1, "no heads or no samples");
    STD_TORCH_CHECK(problem.channels >= 1 && problem.channels <= kMaxChannels,
                    "channels of a head must be 1 to ", kMaxChannels, ", got ", problem.channels);
    // Tokens and the bytes of one are counted in 32 bits, elements in 64.
    constexpr int64_t most = std::numeric_limits<int32_t>::max();
    STD_TORCH_CHECK(problem.tokens <= most && problem.heads * problem.channels <= most / 8 &&
                        problem.samples <= most,
                    "too many tokens, heads or samples");
  }

  void check_shapes() const {
    const Problem& p = problem;
    check_shape(spatial_shapes_, "spatial_shapes", {p.levels, 2});
    check_shape(level_start_index_, "level_start_index", {p.levels});
    check_shape(coordinates, "sampling locations or offsets",
                {p.batch, p.queries, p.heads, p.samples, 2});
    check_shape(weights, "attention weights or logits", {p.batch, p.queries, p.heads, p.samples});
    if (is_fused()) {
      STD_TORCH_CHECK(p.reference_size == 2 || p.reference_size == 4,
                      "reference_points must be [batch, queries, levels, 2 or 4]");
      check_shape(*reference_points, "reference_points",
                  {p.batch, p.queries, p.levels, p.reference_size});
    }
  }

  void set_dtypes() {
    STD_TORCH_CHECK(spatial_shapes_.scalar_type() == ScalarType::Long &&
                        level_start_index_.scalar_type() == ScalarType::Long,
                    "spatial_shapes and level_start_index must be int64");
    problem.value_dtype = dtype_of(value, "value");
    problem.aux_dtype = dtype_of(weights, "attention weights or logits");
    const Dtype compute =
        problem.value_dtype == Dtype::kFloat64 ? Dtype::kFloat64 : Dtype::kFloat32;
    STD_TORCH_CHECK(problem.aux_dtype == compute || problem.aux_dtype == problem.value_dtype,
                    "attention weights or logits must have the dtype of value, or float32");
    STD_TORCH_CHECK(dtype_of(coordinates, "sampling locations or offsets") ==
                        (is_fused() ? problem.aux_dtype : compute),
                    "sampling locations must be float32 (float64 beside float64 values), "
                    "sampling offsets must have the dtype of the logits");
    STD_TORCH_CHECK(!is_fused() || dtype_of(*reference_points, "reference_points") == compute,
                    "reference_points must be float32 (float64 beside float64 values)");
  }

  Tensor spatial_shapes_;
  Tensor level_start_index_;
  std::vector<int64_t> points_per_level_;
};

}  // namespace solq
