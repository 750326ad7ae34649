// Which of the compiled instruction sets is used.
#pragma once

#include <string>

#include "kernels.h"

namespace solq {

// The kernels in use: the widest this machine can run, or what the environment variable
// SOLQ_OPS_CPU_ISA names, or what was selected last.
const Kernels& kernels();

// False where this machine or this build has no such instruction set.
bool select_kernels(const std::string& instruction_set);

// The instruction sets this machine can run, the widest first, separated by commas.
std::string instruction_sets();

}  // namespace solq
