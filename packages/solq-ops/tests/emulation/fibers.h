// The threads of one block, as fibers that take turns.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

namespace emulation {

inline void require(bool condition, const char* message) {
  if (condition) return;
  std::fprintf(stderr, "emulated CUDA: %s\n", message);
  std::abort();
}

constexpr unsigned kWarp = 32;
constexpr size_t kStackBytes = 64 << 10;

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool is_done;
};

// Threads that wait for one another: a warp, or the block.
struct Meeting {
  std::vector<unsigned> waiting;
  const char* kind = nullptr;  // what they wait at
  unsigned generation = 0;
};

struct Block {
  std::deque<Fiber> fibers;  // contexts must stay where they are
  std::vector<Meeting> warps;
  Meeting all;
  std::vector<unsigned> ready;
  // What lanes show one another. Two sets: nobody writes a set again before all have left the
  // shuffle after it, and so have read it.
  std::vector<uint64_t> shown[2];
  std::vector<unsigned char> shared_memory;
  std::function<void()> kernel;
  ucontext_t scheduler;
  unsigned current = 0;
  unsigned threads = 0;
  uint64_t random = 1;
};

inline Block block;

inline void enter_fiber() {
  for (;;) {
    block.kernel();
    Fiber& fiber = block.fibers[block.current];
    fiber.is_done = true;
    swapcontext(&fiber.context, &block.scheduler);
  }
}

inline void wait_at(Meeting& meeting, unsigned expected, const char* kind) {
  require(meeting.waiting.empty() || std::strcmp(meeting.kind, kind) == 0,
          "threads wait for one another at different barriers");
  meeting.kind = kind;
  meeting.waiting.push_back(block.current);
  if (meeting.waiting.size() == expected) {
    block.ready.insert(block.ready.end(), meeting.waiting.begin(), meeting.waiting.end());
    meeting.waiting.clear();
    ++meeting.generation;
  }
  swapcontext(&block.fibers[block.current].context, &block.scheduler);
}

inline void wait_for_block() { wait_at(block.all, block.threads, "__syncthreads"); }
inline void wait_for_warp(const char* kind) {
  wait_at(block.warps[block.current / kWarp], kWarp, kind);
}

// Every lane shows a value and gets that of another.
template <typename T>
T exchange(T value, unsigned source_lane) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  const unsigned warp = block.current / kWarp;
  std::vector<uint64_t>& shown = block.shown[block.warps[warp].generation % 2];
  std::memcpy(&shown[block.current], &value, sizeof value);
  wait_for_warp("shuffle");
  std::memcpy(&value, &shown[warp * kWarp + source_lane], sizeof value);
  return value;
}

inline void* shared_memory() { return block.shared_memory.data(); }

inline unsigned draw(unsigned count) {  // xorshift64
  block.random ^= block.random << 13;
  block.random ^= block.random >> 7;
  block.random ^= block.random << 17;
  return static_cast<unsigned>(block.random % count);
}

inline void seed(uint64_t seed) { block.random = seed * 0x9e3779b97f4a7c15u + 1; }

inline void run_block(unsigned threads, size_t shared_bytes, unsigned& thread_index,
                      std::function<void()> kernel) {
  require(threads % kWarp == 0, "blocks are made of whole warps");
  block.kernel = std::move(kernel);
  block.threads = threads;
  block.shared_memory.assign(shared_bytes, 0xff);  // NaN, and -1
  block.warps.resize(threads / kWarp);
  for (auto& shown : block.shown) shown.resize(threads);
  for (unsigned i = block.fibers.size(); i < threads; ++i) {
    Fiber& fiber = block.fibers.emplace_back();
    fiber.stack.reset(new char[kStackBytes]);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    makecontext(&fiber.context, enter_fiber, 0);
  }
  for (unsigned i = 0; i < threads; ++i) {
    block.fibers[i].is_done = false;
    block.ready.push_back(i);
  }
  unsigned done = 0;
  while (!block.ready.empty()) {
    std::swap(block.ready[draw(block.ready.size())], block.ready.back());
    block.current = thread_index = block.ready.back();
    block.ready.pop_back();
    swapcontext(&block.scheduler, &block.fibers[block.current].context);
    done += block.fibers[block.current].is_done;
  }
  require(done == threads, "threads wait at a barrier that others never reach");
}

}  // namespace emulation
