// Registers the operators' CUDA kernels with torch, through its stable ABI.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "calls.h"
#include "torch_arguments.h"

namespace solq {
namespace {

// The tensors' device, made the current one, and its current stream.
class Place {
 public:
  explicit Place(const Tensor& tensor)
      : index_(tensor.get_device_index()), guard_(index_), device_{} {
    device_.on_chip_queries = cuda::kOnChipQueries;
    STD_CUDA_CHECK(
        cudaDeviceGetAttribute(&device_.multiprocessors, cudaDevAttrMultiProcessorCount, index_));
    STD_CUDA_CHECK(cudaDeviceGetAttribute(&device_.shared_bytes,
                                          cudaDevAttrMaxSharedMemoryPerBlockOptin, index_));
  }

  const cuda::Device& device() const { return device_; }

  cudaStream_t stream() const {
    void* stream = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index_, &stream));
    return static_cast<cudaStream_t>(stream);
  }

 private:
  int32_t index_;
  torch::stable::accelerator::DeviceGuard guard_;
  cuda::Device device_;
};

// call(T()) with the type of the values.
template <typename Call>
void with_value_type(const Problem& problem, const Call& call) {
  switch (problem.value_dtype) {
    case Dtype::kFloat64: return call(double());
    case Dtype::kFloat32: return call(float());
    case Dtype::kBFloat16: return call(__nv_bfloat16());
    case Dtype::kFloat16: return call(__half());
  }
}

Tensor forward(const Arguments& arguments) {
  const Place place(arguments.value);
  Tensor output = arguments.new_output();
  with_value_type(arguments.problem, [&](auto value) {
    cuda::run_forward<decltype(value)>(arguments.problem, output.mutable_data_ptr(), place.device(),
                                       place.stream());
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return output;
}

struct GradientTensors {
  Tensor value;
  std::optional<Tensor> reference_points;
  Tensor coordinates;
  Tensor weights;
};

GradientTensors backward(const Arguments& arguments, const Tensor& grad_output,
                         bool deterministic) {
  using torch::stable::empty_like;
  const Place place(arguments.value);
  const Tensor grad = arguments.checked_gradient(grad_output);
  GradientTensors grads{empty_like(arguments.value), std::nullopt,
                        empty_like(arguments.coordinates), empty_like(arguments.weights)};
  if (arguments.is_fused()) grads.reference_points = empty_like(*arguments.reference_points);
  const Gradients gradients{
      grad.const_data_ptr(), grads.value.mutable_data_ptr(),
      arguments.is_fused() ? grads.reference_points->mutable_data_ptr() : nullptr,
      grads.coordinates.mutable_data_ptr(), grads.weights.mutable_data_ptr()};
  // Torch's allocator: so the memory is reused, counted, and right for a CUDA graph.
  const auto bytes = static_cast<int64_t>(cuda::workspace_bytes(arguments.problem, deterministic));
  const Tensor workspace =
      torch::stable::new_empty(arguments.value, {bytes}, torch::headeronly::ScalarType::Byte);
  with_value_type(arguments.problem, [&](auto value) {
    cuda::run_backward<decltype(value)>(arguments.problem, gradients, deterministic,
                                        workspace.mutable_data_ptr(), place.device(),
                                        place.stream());
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return grads;
}

Tensor ms_deform_attn(const Tensor& value, const Tensor& spatial_shapes,
                      const Tensor& level_start_index, const Tensor& sampling_locations,
                      const Tensor& attention_weights, std::vector<int64_t> points_per_level) {
  return forward({value, spatial_shapes, level_start_index, std::nullopt, sampling_locations,
                  attention_weights, std::move(points_per_level)});
}

std::tuple<Tensor, Tensor, Tensor> ms_deform_attn_backward(
    const Tensor& grad_output, const Tensor& value, const Tensor& spatial_shapes,
    const Tensor& level_start_index, const Tensor& sampling_locations,
    const Tensor& attention_weights, std::vector<int64_t> points_per_level, bool deterministic) {
  GradientTensors grads =
      backward({value, spatial_shapes, level_start_index, std::nullopt, sampling_locations,
                attention_weights, std::move(points_per_level)},
               grad_output, deterministic);
  return {grads.value, grads.coordinates, grads.weights};
}

Tensor ms_deform_attn_fused(const Tensor& value, const Tensor& spatial_shapes,
                            const Tensor& level_start_index, const Tensor& reference_points,
                            const Tensor& sampling_offsets, const Tensor& attention_logits,
                            std::vector<int64_t> points_per_level) {
  return forward({value, spatial_shapes, level_start_index, reference_points, sampling_offsets,
                  attention_logits, std::move(points_per_level)});
}

std::tuple<Tensor, Tensor, Tensor, Tensor> ms_deform_attn_fused_backward(
    const Tensor& grad_output, const Tensor& value, const Tensor& spatial_shapes,
    const Tensor& level_start_index, const Tensor& reference_points, const Tensor& sampling_offsets,
    const Tensor& attention_logits, std::vector<int64_t> points_per_level, bool deterministic) {
  GradientTensors grads =
      backward({value, spatial_shapes, level_start_index, reference_points, sampling_offsets,
                attention_logits, std::move(points_per_level)},
               grad_output, deterministic);
  return {grads.value, *grads.reference_points, grads.coordinates, grads.weights};
}

}  // namespace

// The schemas are defined in Python, which also runs where this library is absent.
STABLE_TORCH_LIBRARY_IMPL(solq, CUDA, library) {
  library.impl("ms_deform_attn", TORCH_BOX(&ms_deform_attn));
  library.impl("ms_deform_attn_backward", TORCH_BOX(&ms_deform_attn_backward));
  library.impl("ms_deform_attn_fused", TORCH_BOX(&ms_deform_attn_fused));
  library.impl("ms_deform_attn_fused_backward", TORCH_BOX(&ms_deform_attn_fused_backward));
}

}  // namespace solq

// "key=value;key=value", for solq_ops.backend().
extern "C" __attribute__((visibility("default"))) const char* solq_ops_cuda_describe() {
  return "cuda=" SOLQ_CUDA_VERSION ";architectures=" SOLQ_CUDA_ARCHITECTURES
         ";torch_target=" SOLQ_TORCH_TARGET;
}
