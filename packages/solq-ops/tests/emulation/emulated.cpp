// The CUDA kernels on the host, behind plain C functions: all pointers are to host memory.

#include <exception>
#include <string>

#include "launch.cuh"

namespace {

using solq::Dtype;

// Returns message, or nullptr where nothing went wrong.
template <typename Call>
const char* guarded(uint64_t seed, const Call& call) {
  emulation::seed(seed);
  static std::string message;
  try {
    call();
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
  return nullptr;
}

template <typename Call>
void with_value_type(Dtype dtype, const Call& call) {
  switch (dtype) {
    case Dtype::kFloat64: return call(double{});
    case Dtype::kFloat32: return call(float{});
    case Dtype::kBFloat16: return call(__nv_bfloat16{});
    case Dtype::kFloat16: return call(__half{});
  }
}

}  // namespace

extern "C" {

const char* emulated_forward(const solq::Problem* problem, const solq::cuda::Device* device,
                             uint64_t seed, void* output) {
  return guarded(seed, [&] {
    with_value_type(problem->value_dtype, [&](auto value) {
      solq::cuda::run_forward<decltype(value)>(*problem, output, *device, nullptr);
    });
  });
}

uint64_t emulated_workspace_bytes(const solq::Problem* problem, bool deterministic) {
  return solq::cuda::workspace_bytes(*problem, deterministic);
}

const char* emulated_backward(const solq::Problem* problem, const solq::Gradients* gradients,
                              bool deterministic, const solq::cuda::Device* device, uint64_t seed,
                              void* workspace) {
  return guarded(seed, [&] {
    with_value_type(problem->value_dtype, [&](auto value) {
      solq::cuda::run_backward<decltype(value)>(*problem, *gradients, deterministic, workspace,
                                                *device, nullptr);
    });
  });
}

}  // extern "C"
