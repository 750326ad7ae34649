#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <vector>

namespace solq {
namespace {

std::vector<const Kernels*> runnable_kernels() {
  std::vector<const Kernels*> found;
#if defined(SOLQ_WITH_X86_KERNELS)
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                        __builtin_cpu_supports("f16c");
  if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    found.push_back(avx512_kernels());
  }
  if (has_avx2) found.push_back(avx2_kernels());
#endif
  found.push_back(portable_kernels());
  return found;
}

const std::vector<const Kernels*>& all() {
  static const std::vector<const Kernels*> found = runnable_kernels();
  return found;
}

const Kernels* find(const std::string& instruction_set) {
  for (const Kernels* candidate : all()) {
    if (candidate->instruction_set == instruction_set) return candidate;
  }
  return nullptr;
}

const Kernels* first_choice() {
  // A name this machine cannot run is refused by the Python side, which reads the same variable.
  const char* wanted = std::getenv("SOLQ_OPS_CPU_ISA");
  const Kernels* named = wanted == nullptr ? nullptr : find(wanted);
  return named == nullptr ? all().front() : named;
}

std::atomic<const Kernels*>& chosen() {
  static std::atomic<const Kernels*> kernels = first_choice();
  return kernels;
}

}  // namespace

const Kernels& kernels() { return *chosen().load(std::memory_order_relaxed); }

bool select_kernels(const std::string& instruction_set) {
  const Kernels* named = find(instruction_set);
  if (named != nullptr) chosen().store(named);
  return named != nullptr;
}

std::string instruction_sets() {
  std::string names;
  for (const Kernels* candidate : all()) {
    names += (names.empty() ? "" : ",") + std::string(candidate->instruction_set);
  }
  return names;
}

}  // namespace solq
