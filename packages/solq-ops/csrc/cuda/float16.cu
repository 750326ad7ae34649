// The kernels for values of float16.

#include "calls.h"
#include "launch.cuh"

namespace solq::cuda {

template void run_forward<__half>(const Problem&, void*, const Device&, cudaStream_t);
template void run_backward<__half>(const Problem&, const Gradients&, bool, void*, const Device&,
                                   cudaStream_t);

}  // namespace solq::cuda
