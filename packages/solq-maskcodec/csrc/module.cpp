// The compiled part of solq_maskcodec, as a Python module.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <atomic>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "boxed_rle.h"

namespace py = pybind11;

namespace {

template <typename T>
using Dense = py::array_t<T, py::array::c_style>;

template <typename T>
void encode_range(const std::uint8_t* masks, const T* boxes, std::int64_t size, std::int64_t height,
                  std::int64_t width, std::atomic<std::int64_t>& next,
                  std::vector<std::string>& counts) {
  solq::BoxedRleEncoder encoder(size, height, width);
  const auto count = static_cast<std::int64_t>(counts.size());
  for (std::int64_t mask; (mask = next++) < count;)
    counts[mask] = encoder.encode(masks + mask * size * size, boxes + mask * 4);
}

template <typename T>
py::list boxed_rle(const Dense<bool>& masks, const Dense<T>& boxes, std::int64_t height,
                   std::int64_t width, std::int64_t num_threads) {
  if (masks.ndim() != 3 || masks.shape(1) != masks.shape(2) || masks.shape(1) < 1)
    throw std::invalid_argument("masks must be [instances, size, size]");
  if (boxes.ndim() != 2 || boxes.shape(0) != masks.shape(0) || boxes.shape(1) != 4)
    throw std::invalid_argument("boxes must be [instances, 4], one for each mask");
  // The product of the sides has to stay a count that COCO's strings can hold.
  constexpr std::int64_t kMost = std::int64_t{1} << 32;
  if (height < 1 || width < 1 || height >= kMost || width >= kMost || height * width >= kMost)
    throw std::invalid_argument("height * width must be in 1..2^32 - 1");
  if (num_threads < 1) throw std::invalid_argument("num_threads must be at least 1");

  const auto* mask_bytes = reinterpret_cast<const std::uint8_t*>(masks.data());
  std::vector<std::string> counts(masks.shape(0));
  std::exception_ptr failure;
  {
    const py::gil_scoped_release release;
    std::atomic<std::int64_t> next{0};
    std::mutex failing;
    const auto work = [&] {
      try {
        encode_range(mask_bytes, boxes.data(), masks.shape(1), height, width, next, counts);
      } catch (...) {
        const std::lock_guard lock(failing);
        failure = std::current_exception();
      }
    };
    std::vector<std::thread> others;
    const auto most = std::min(num_threads, static_cast<std::int64_t>(counts.size()));
    try {
      for (std::int64_t i = 1; i < most; ++i) others.emplace_back(work);
    } catch (const std::system_error&) {
      // No more threads to be had: those that there are do the work.
    }
    work();
    for (std::thread& other : others) other.join();
  }
  if (failure) std::rethrow_exception(failure);
  py::list strings(counts.size());
  for (std::size_t i = 0; i < counts.size(); ++i) strings[i] = py::str(counts[i]);
  return strings;
}

}  // namespace

PYBIND11_MODULE(_native, module, py::mod_gil_not_used()) {
  module.doc() = "Kernels of solq_maskcodec.";
  module.attr("compiler") = SOLQ_COMPILER;
  constexpr const char* kDoc =
      "Compressed COCO counts, list[str], of bool masks [instances, size, size] in their boxes.";
  const auto define = [&](auto function) {
    module.def("boxed_rle", function, kDoc, py::arg("masks").noconvert(),
               py::arg("boxes").noconvert(), py::arg("height"), py::arg("width"),
               py::arg("num_threads"));
  };
  define(&boxed_rle<float>);
  define(&boxed_rle<double>);
}
