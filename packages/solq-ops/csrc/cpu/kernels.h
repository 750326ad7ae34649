// The CPU kernels, compiled once per instruction set; dispatch.cpp chooses among them at run time.
// A kernel's work is a number of tasks, any range of which may run on any thread: no two tasks
// write the same element, and the order of additions inside a task is fixed, so that results are
// bitwise the same for every number of threads.
#pragma once

#include <cstdint>

#include "problem.h"

namespace solq {

struct Kernels {
  const char* instruction_set;

  int64_t (*forward_tasks)(const Problem&);
  void (*forward)(const Problem&, void* output, int64_t begin, int64_t end);

  // Gradients of coordinates, weights and reference points: reads values, like the forward pass.
  int64_t (*backward_samples_tasks)(const Problem&);
  void (*backward_samples)(const Problem&, const Gradients&, int64_t begin, int64_t end);

  // Gradient of values. `threads` decides into how many tasks the work is cut, not the result.
  int64_t (*backward_value_tasks)(const Problem&, int64_t threads);
  void (*backward_value)(const Problem&, const Gradients&, int64_t threads, int64_t begin,
                         int64_t end);
};

// Compiled from kernels.cpp with different flags; those absent on this architecture are null.
const Kernels* portable_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();

}  // namespace solq
