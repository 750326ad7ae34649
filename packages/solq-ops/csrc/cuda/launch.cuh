// The launches of a call: from a Problem to kernels, one value dtype at a time.
#pragma once

#include "backward.cuh"
#include "forward.cuh"
#include "on_chip.cuh"
#include "plan.h"

namespace solq::cuda {

inline size_t staging_bytes(const Problem& problem, int32_t threads, bool with_gradients) {
  return level_bytes(problem.levels) +
         record_bytes(threads, compute_bytes(problem), with_gradients);
}

inline int64_t elementwise_blocks(int64_t elements, const Device& device) {
  const int64_t needed = ceil_div(elements, kMaxThreads);
  const int64_t most = 16 * device.multiprocessors;
  return needed < most ? needed : most;
}

// Calls launch.template run<bytes, lanes, chunks>() for the mapping of a tile.
template <typename T, typename Launch>
void with_mapping(const Tile& tile, int64_t channels, const Launch& launch) {
  constexpr int kSize = sizeof(T);
  if (tile.tuned) {
    constexpr Mapping k32 = tuned_mapping(kSize, 32), k48 = tuned_mapping(kSize, 48);
    constexpr Mapping k64 = tuned_mapping(kSize, 64);
    if constexpr (k32.lanes > 0) {
      if (channels == 32) return launch.template run<16, k32.lanes, k32.chunks>();
      if (channels == 48) return launch.template run<16, k48.lanes, k48.chunks>();
      return launch.template run<16, k64.lanes, k64.chunks>();
    }
  }
  if (tile.access_bytes == 16) return launch.template run<16, 0, kGeneralChunks>();
  if (tile.access_bytes == 8) return launch.template run<8, 0, kGeneralChunks>();
  if constexpr (kSize <= 4) {
    if (tile.access_bytes == 4) return launch.template run<4, 0, kGeneralChunks>();
  }
  if constexpr (kSize <= 2) {
    if (tile.access_bytes == 2) return launch.template run<2, 0, kGeneralChunks>();
  }
}

template <typename T>
struct Forward {
  const KernelArguments& arguments;
  T* output;
  cudaStream_t stream;

  template <int kBytes, int kLanes, int kChunks>
  void run() const {
    launch(forward_kernel<T, kBytes, kLanes, kChunks>,
           grid_blocks(arguments.problem, arguments.tile, true), arguments.tile.threads,
           staging_bytes(arguments.problem, arguments.tile.threads, false), stream, arguments,
           output);
  }
};

template <typename T>
void run_forward(const Problem& problem, void* output, const Device& device, cudaStream_t stream) {
  if (problem.batch * problem.queries * problem.heads == 0) return;
  const int32_t access = access_bytes(problem, {problem.value, output});
  const Tile tile = plan_tile(problem, access, /*sliced=*/true, device);
  const KernelArguments arguments = plan_arguments(problem, tile);
  with_mapping<T>(tile, problem.channels, Forward<T>{arguments, static_cast<T*>(output), stream});
}

template <typename T, typename Sum>
struct Backward {
  const BackwardArguments<T, Sum>& arguments;
  cudaStream_t stream;

  template <int kBytes, int kLanes, int kChunks>
  void run() const {
    const Problem& problem = arguments.call.problem;
    const Tile& tile = arguments.call.tile;
    launch(backward_kernel<T, Sum, kBytes, kLanes, kChunks>, grid_blocks(problem, tile, false),
           tile.threads, staging_bytes(problem, tile.threads, true), stream, arguments);
  }
};

template <typename T>
void find_maximum(const void* tensor, int64_t count, unsigned long long* maximum,
                  const Device& device, cudaStream_t stream) {
  launch(maximum_kernel<T>, elementwise_blocks(count, device), kMaxThreads, 0, stream,
         static_cast<const T*>(tensor), count, maximum);
}

template <typename T, typename Sum>
void run_backward_with(const Problem& problem, const Gradients& gradients, const Workspace& plan,
                       void* workspace, const Device& device, cudaStream_t stream) {
  using C = Compute<T>;
  using Element = typename Sum::Element;
  char* memory = static_cast<char*>(workspace);
  const int64_t elements = problem.batch * problem.tokens * problem.heads * problem.channels;
  const int64_t rows = problem.batch * problem.queries * problem.heads;
  const bool fused = problem.reference_size > 0;
  auto* maxima = reinterpret_cast<unsigned long long*>(memory + plan.maxima);
  auto* sums = static_cast<Element*>(plan.sums_in_place ? gradients.value : memory + plan.sums);
  Magnitudes magnitudes{maxima, fused ? 1 : INT32_MIN, 0};
  while (INT64_C(1) << magnitudes.log2_count < problem.queries * problem.samples) {
    ++magnitudes.log2_count;
  }

  if (Sum::kIsExact) cudaMemsetAsync(maxima, 0, 2 * sizeof *maxima, stream);
  if (elements > 0) cudaMemsetAsync(sums, 0, elements * sizeof(Element), stream);
  if (rows > 0) {
    const int32_t access = access_bytes(problem, {problem.value, gradients.output, sums});
    const Tile tile = plan_tile(problem, access, /*sliced=*/false, device);
    BackwardArguments<T, Sum> arguments{
        plan_arguments(problem, tile),
        static_cast<const T*>(gradients.output),
        sums,
        magnitudes,
        0,
        reinterpret_cast<C*>(memory + plan.references),
        static_cast<C*>(aux_is_compute<T>(problem) ? gradients.weights : memory + plan.weights),
        gradients.coordinates,
        gradients.weights};
    if (Sum::kIsExact) {
      find_maximum<T>(gradients.output, rows * problem.channels, maxima, device, stream);
      if (!fused && rows * problem.samples > 0) {
        const int64_t weights = rows * problem.samples;
        if (aux_is_compute<T>(problem)) {
          find_maximum<C>(problem.weights, weights, maxima + 1, device, stream);
        } else {
          find_maximum<T>(problem.weights, weights, maxima + 1, device, stream);
        }
      }
    }
    const size_t staging = staging_bytes(problem, kOnChipThreads, false);
    const OnChip on_chip = plan_on_chip(problem, plan.sum_bytes, staging, device);
    if (on_chip.tokens > 0) {
      arguments.on_chip_tokens = on_chip.tokens;
      launch(on_chip_kernel<T, Sum>,
             problem.batch * problem.heads * problem.levels * on_chip.shares, kOnChipThreads,
             on_chip.bytes + staging, stream, arguments, on_chip);
    }
    with_mapping<T>(tile, problem.channels, Backward<T, Sum>{arguments, stream});
  }
  const int64_t queries = problem.batch * problem.queries;
  const int64_t size = static_cast<int64_t>(problem.levels) * problem.reference_size;
  if (queries * size > 0) {
    launch(reference_kernel<C>, elementwise_blocks(queries * size, device), kMaxThreads, 0, stream,
           reinterpret_cast<const C*>(memory + plan.references), queries, problem.heads, size,
           static_cast<C*>(gradients.reference_points));
  }
  if (!plan.sums_in_place && elements > 0) {
    launch(total_kernel<T, Sum>, elementwise_blocks(elements, device), kMaxThreads, 0, stream,
           static_cast<const Element*>(sums), magnitudes, elements,
           static_cast<T*>(gradients.value));
  }
}

template <typename T>
void run_backward(const Problem& problem, const Gradients& gradients, bool deterministic,
                  void* workspace, const Device& device, cudaStream_t stream) {
  const Workspace plan = plan_workspace(problem, deterministic);
  if (deterministic) {
    run_backward_with<T, FixedPointSum<Compute<T>>>(problem, gradients, plan, workspace, device,
                                                    stream);
  } else {
    run_backward_with<T, FloatingSum<Compute<T>>>(problem, gradients, plan, workspace, device,
                                                  stream);
  }
}

}  // namespace solq::cuda
