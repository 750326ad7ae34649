// The CPU operators as torch sees them: checks, threads, and the registration of the kernels.
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <string>

#include "dispatch.h"
#include "operators.h"
#include "torch_arguments.h"

namespace solq {
namespace {

// The host can read these numbers, so no wrong level reaches a kernel.
void check_levels(const Problem& problem) {
  int64_t tokens = 0;
  for (int32_t level = 0; level < problem.levels; ++level) {
    const int64_t height = problem.spatial_shapes[2 * level];
    const int64_t width = problem.spatial_shapes[2 * level + 1];
    STD_TORCH_CHECK(height >= 1 && width >= 1 && height <= problem.tokens / width,
                    "spatial_shapes: level ", level, " is ", height, " x ", width,
                    ", beside a value of ", problem.tokens, " tokens");
    STD_TORCH_CHECK(problem.level_start_index[level] == tokens, "level_start_index of level ",
                    level, " must be ", tokens, ", got ", problem.level_start_index[level]);
    tokens += height * width;
  }
  STD_TORCH_CHECK(tokens == problem.tokens, "spatial_shapes cover ", tokens, " tokens, value has ",
                  problem.tokens);
}

// Runs tasks 0 .. count - 1 on torch's threads.
template <class Run>
void run_tasks(int64_t count, const Run& run) {
  if (count > 0) torch::stable::parallel_for(0, count, 1, run);
}

Tensor forward(const Arguments& arguments) {
  check_levels(arguments.problem);
  Tensor output = arguments.new_output();
  const Kernels& kernel = kernels();
  run_tasks(kernel.forward_tasks(arguments.problem), [&](int64_t begin, int64_t end) {
    kernel.forward(arguments.problem, output.mutable_data_ptr(), begin, end);
  });
  return output;
}

// Asks the system for large pages where a tensor has memory of its own, which torch's allocator
// takes from the system for every call and gives back: with glibc, what is above 32 MiB. There a
// page fault for every 4 KiB costs a decoder more time than the kernel. Smaller tensors lie in
// memory that others use after them, to which large pages would come unasked. Only a hint.
void advise_large_pages([[maybe_unused]] const Tensor& tensor) {
#if defined(__GLIBC__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kLargePage = 2 << 20, kLargestOnHeap = 32 << 20;
  const uintptr_t bytes = tensor.numel() * tensor.element_size();
  if (bytes <= kLargestOnHeap) return;
  const auto address = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  const uintptr_t first = (address + kLargePage - 1) / kLargePage * kLargePage;
  const uintptr_t end = (address + bytes) / kLargePage * kLargePage;
  madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
#endif
}

// The sums have one order only, so that being deterministic is nothing to ask for.
GradientTensors backward(const Arguments& arguments, const Tensor& grad_output,
                         bool /*deterministic*/) {
  check_levels(arguments.problem);
  const Tensor grad = arguments.checked_gradient(grad_output);
  GradientTensors grads(arguments);
  advise_large_pages(grads.value);
  const Gradients gradients = grads.addresses(grad);
  const Problem& problem = arguments.problem;
  const Kernels& kernel = kernels();
  const int64_t threads = torch::stable::get_num_threads();
  run_tasks(kernel.backward_samples_tasks(problem), [&](int64_t begin, int64_t end) {
    kernel.backward_samples(problem, gradients, begin, end);
  });
  run_tasks(kernel.backward_value_tasks(problem, threads), [&](int64_t begin, int64_t end) {
    kernel.backward_value(problem, gradients, threads, begin, end);
  });
  return grads;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(solq, CPU, library) { Operators<forward, backward>::add_to(library); }

}  // namespace solq

#define SOLQ_EXPORT extern "C" __attribute__((visibility("default")))

// "key=value;key=value", for solq_ops.backend().
SOLQ_EXPORT const char* solq_ops_cpu_describe() {
  static thread_local std::string text;
  text = std::string("instruction_set=") + solq::kernels().instruction_set +
         ";instruction_sets=" + solq::instruction_sets() +
         ";compiler=" SOLQ_COMPILER ";torch_target=" SOLQ_TORCH_TARGET;
  return text.c_str();
}

// 0 when the instruction set is used from now on, 1 when this machine cannot run it.
SOLQ_EXPORT int solq_ops_cpu_select(const char* instruction_set) {
  return solq::select_kernels(instruction_set) ? 0 : 1;
}
