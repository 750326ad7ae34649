// The table of the kernels of one instruction set.
#include "kernels.h"

#include <cstdint>

#include "backward_samples.h"
#include "backward_value.h"
#include "forward.h"
#include "simd.h"
#include "tasks.h"

namespace solq::SOLQ_ISA {
namespace {

int64_t forward_tasks(const Problem& problem) {
  return problem.batch * problem.heads * Bands(problem).count;
}

int64_t backward_samples_tasks(const Problem& problem) {
  return problem.batch * (problem.reference_size == 0 ? problem.heads : 1) * Bands(problem).count;
}

int64_t backward_value_tasks(const Problem& problem, int64_t threads) {
  return problem.batch * problem.heads * LevelGroups(problem, threads).count;
}

// The function compiled for the dtype of the values.
template <class Call>
void for_dtype(const Problem& problem, Call&& call) {
  switch (problem.value_dtype) {
    case Dtype::kFloat64: return call(double());
    case Dtype::kFloat32: return call(float());
    case Dtype::kBFloat16: return call(BFloat16());
    case Dtype::kFloat16: return call(Float16());
  }
}

constexpr Kernels kKernels = {
    SOLQ_ISA_NAME,
    forward_tasks,
    [](const Problem& problem, void* output, int64_t begin, int64_t end) {
      for_dtype(problem, [&](auto type) { forward<decltype(type)>(problem, output, begin, end); });
    },
    backward_samples_tasks,
    [](const Problem& problem, const Gradients& gradients, int64_t begin, int64_t end) {
      for_dtype(problem, [&](auto type) {
        backward_samples<decltype(type)>(problem, gradients, begin, end);
      });
    },
    backward_value_tasks,
    [](const Problem& problem, const Gradients& gradients, int64_t threads, int64_t begin,
       int64_t end) {
      for_dtype(problem, [&](auto type) {
        backward_value<decltype(type)>(problem, gradients, threads, begin, end);
      });
    },
};

}  // namespace
}  // namespace solq::SOLQ_ISA

namespace solq {

const Kernels* SOLQ_KERNELS() { return &SOLQ_ISA::kKernels; }

}  // namespace solq
