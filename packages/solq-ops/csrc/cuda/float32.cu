// The kernels for values of float32.

#include "calls.h"
#include "launch.cuh"

namespace solq::cuda {

template void run_forward<float>(const Problem&, void*, const Device&, cudaStream_t);
template void run_backward<float>(const Problem&, const Gradients&, bool, void*, const Device&,
                                  cudaStream_t);

}  // namespace solq::cuda
