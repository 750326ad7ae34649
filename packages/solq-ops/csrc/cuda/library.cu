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

#include "calls.h"
#include "operators.h"
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

GradientTensors backward(const Arguments& arguments, const Tensor& grad_output,
                         bool deterministic) {
  const Place place(arguments.value);
  const Tensor grad = arguments.checked_gradient(grad_output);
  GradientTensors grads(arguments);
  const Gradients gradients = grads.addresses(grad);
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

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(solq, CUDA, library) { Operators<forward, backward>::add_to(library); }

}  // namespace solq

// "key=value;key=value", for solq_ops.backend().
extern "C" __attribute__((visibility("default"))) const char* solq_ops_cuda_describe() {
  return "cuda=" SOLQ_CUDA_VERSION ";architectures=" SOLQ_CUDA_ARCHITECTURES
         ";torch_target=" SOLQ_TORCH_TARGET;
}
