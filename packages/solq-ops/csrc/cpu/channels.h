// The channels of a head as runs of vectors, whatever their number.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "problem.h"
#include "samples.h"
#include "simd.h"

namespace solq::SOLQ_ISA {

// Calls pass(Lanes, Count, first channel) for runs of Count vectors that cover the channels: full
// vectors first, then ever narrower ones for what remains.
template <int value>
using Number = std::integral_constant<int, value>;

template <int count, class Pass>
inline void pass_of(int vectors, int64_t channel, Pass&& pass) {
  if constexpr (count > 0) {
    if (vectors == count) {
      pass(Number<count>(), channel);
    } else {
      pass_of<count - 1>(vectors, channel, pass);
    }
  }
}

template <int lanes, class Pass>
inline void pass_over_rest(int64_t channels, int64_t channel, Pass&& pass) {
  if constexpr (lanes > 0) {
    if (channels - channel >= lanes) {
      pass(Number<lanes>(), Number<1>(), channel);
      channel += lanes;
    }
    pass_over_rest<lanes / 2>(channels, channel, pass);
  }
}

template <class C, class Pass>
inline void pass_over_channels(int64_t channels, Pass&& pass) {
  constexpr int lanes = kLanes<C>;
  int64_t channel = 0;
  for (int64_t left = channels / lanes; left > 0;) {
    const int vectors = static_cast<int>(
        left <= kMaxVectors ? left : std::min<int64_t>(kMaxVectors, (left + 1) / 2));
    pass_of<kMaxVectors>(vectors, channel,
                         [&](auto count, int64_t first) { pass(Number<lanes>(), count, first); });
    channel += vectors * lanes;
    left -= vectors;
  }
  pass_over_rest<lanes / 2>(channels, channel, pass);
}

template <class T>
inline const T* at(uint64_t address, int64_t channel) {
  return reinterpret_cast<const T*>(address) + channel;
}

// The output's gradient of a query and head; that of the next block's query is asked for.
template <class T>
inline const T* grad_output_of(const Problem& problem, const Gradients& gradients, int64_t row) {
  const int64_t later = row + kQueriesPerBlock * problem.heads, channels = problem.channels;
  prefetch(gradients.output, later * channels * sizeof(T), channels * sizeof(T));
  return static_cast<const T*>(gradients.output) + row * channels;
}

// Where the values of an item and head begin, and how far it is from token to token.
template <class T>
struct ValueAddresses {
  explicit ValueAddresses(const Problem& problem)
      : stride(static_cast<uint32_t>(problem.heads * problem.channels * sizeof(T))),
        outside(reinterpret_cast<uint64_t>(kZeros)),
        problem_(problem) {}
  uint64_t of(int64_t item, int64_t head) const {
    return reinterpret_cast<uint64_t>(static_cast<const T*>(problem_.value) +
                                      (item * problem_.tokens * problem_.heads + head) *
                                          problem_.channels);
  }

  const uint32_t stride;
  const uint64_t outside;

 private:
  const Problem& problem_;
};

}  // namespace solq::SOLQ_ISA
