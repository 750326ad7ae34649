// What the torch side calls: one pair of functions per dtype of values, each compiled in a file of
// its own (float32.cu, …), so that a build does several at a time.
#pragma once

#include <cuda_runtime.h>

#include "plan.h"

namespace solq::cuda {

// Everything is enqueued on the stream; nothing waits. Launch errors stay with cudaGetLastError.
template <typename T>
void run_forward(const Problem& problem, void* output, const Device& device, cudaStream_t stream);

// workspace: device memory of workspace_bytes(problem, deterministic), at a multiple of 256.
template <typename T>
void run_backward(const Problem& problem, const Gradients& gradients, bool deterministic,
                  void* workspace, const Device& device, cudaStream_t stream);

}  // namespace solq::cuda
