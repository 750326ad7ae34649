// The kernels for values of bfloat16.

#include "calls.h"
#include "launch.cuh"

namespace solq::cuda {

template void run_forward<__nv_bfloat16>(const Problem&, void*, const Device&, cudaStream_t);
template void run_backward<__nv_bfloat16>(const Problem&, const Gradients&, bool, void*,
                                          const Device&, cudaStream_t);

}  // namespace solq::cuda
