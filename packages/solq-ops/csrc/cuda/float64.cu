// The kernels for values of float64.

#include "calls.h"
#include "launch.cuh"

namespace solq::cuda {

template void run_forward<double>(const Problem&, void*, const Device&, cudaStream_t);
template void run_backward<double>(const Problem&, const Gradients&, bool, void*, const Device&,
                                   cudaStream_t);

}  // namespace solq::cuda
