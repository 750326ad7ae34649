// Masks in the frames of their boxes → COCO run lengths in the image, without the image.
//
// The mask of a box is enlarged or reduced bilinearly to the pixels of the box and cut at 0.5, as
// detectron2's paste_masks_in_image does; the operations on floats are those of frames.py and
// boxed_rle.py, in the same order and precision, so that the strings are the same to the last byte.
// Compile without contraction of products and sums (-ffp-contract=off).
//
// A pixel lies between four cells of the mask. Where they agree, so does the pixel; only where they
// differ is it computed. Which cells differ is known for 64 rows at a time: each column of cells is
// a row of bits. So the work grows with the outline of a mask, not with its area.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace solq {

// Empty cells around a mask: as far as a pixel of the box can reach.
constexpr std::int64_t kPadding = 2;

inline int lowest_bit(std::uint64_t word) {
#if defined(__GNUC__) || defined(__clang__)
  return __builtin_ctzll(word);
#else
  int bit = 0;
  while (!(word >> bit & 1)) ++bit;
  return bit;
#endif
}

// Where the pixels of a box read its mask along one axis: between two cells each.
struct PastedAxis {
  std::int64_t first = 0;          // pixel of the image
  std::vector<std::int64_t> low;   // [pixels], cells of the padded mask, ascending; the other: + 1
  std::vector<float> low_weight;   // [pixels]
  std::vector<float> high_weight;  // [pixels]

  std::int64_t length() const { return static_cast<std::int64_t>(low.size()); }

  // The pixels from `start` - 1 to `stop` + 1 that lie in the image; none for a box without extent
  // (or with NaN).
  template <typename T>
  void assign(T start, T stop, std::int64_t extent, std::int64_t size) {
    low.clear(), low_weight.clear(), high_weight.clear();
    if (!(stop > start)) return;
    const T end = static_cast<T>(extent);
    first = static_cast<std::int64_t>(std::clamp(std::floor(start) - T(1), T(0), end));
    const auto last = static_cast<std::int64_t>(std::clamp(std::ceil(stop) + T(1), T(0), end));
    for (std::int64_t pixel = first; pixel < last; ++pixel) {
      const T centre = static_cast<T>(static_cast<float>(pixel) + 0.5f);
      const float grid = static_cast<float>((centre - start) / (stop - start) * T(2) - T(1));
      const float cell = static_cast<float>(
          static_cast<double>(grid + 1.0f) * (static_cast<double>(size) / 2) - 0.5);
      const float beyond = static_cast<float>(size);
      float floored = std::floor(cell);
      if (!(floored >= -2.0f)) floored = -2.0f;  // also NaN
      if (floored > beyond) floored = beyond;
      const bool reads = floored >= -1.0f && floored < beyond;
      const float high = reads ? cell - floored : 0.0f;
      low.push_back(static_cast<std::int64_t>(floored) + kPadding);
      low_weight.push_back(1.0f - high);
      high_weight.push_back(high);
    }
  }
};

// COCO's string of the run lengths between changes at ascending positions, the first of background.
inline std::string coco_string(const std::vector<std::int64_t>& changes, std::int64_t pixels) {
  std::string text;
  text.reserve(changes.size() * 2 + 8);
  std::array<std::int64_t, 2> earlier{0, 0};  // the last count and the one before it
  std::int64_t position = 0, index = 0;
  const auto write = [&](std::int64_t stop) {
    const std::int64_t count = stop - position;
    // From the fourth on, a count is stored as the difference to the one before the last.
    std::int64_t number = index > 2 ? count - earlier[1] : count;
    for (bool more = true; more;) {
      const std::int64_t group = number & 0x1f;
      number >>= 5;
      more = (group & 0x10) ? number != -1 : number != 0;
      text.push_back(static_cast<char>('0' + (group | (more ? 0x20 : 0))));
    }
    earlier = {count, earlier[0]};
    position = stop, ++index;
  };
  for (const std::int64_t change : changes) write(change);
  if (changes.empty() || changes.back() != pixels) write(pixels);
  return text;
}

// Encodes one mask after the other; keeps its buffers between them.
class BoxedRleEncoder {
 public:
  BoxedRleEncoder(std::int64_t size, std::int64_t height, std::int64_t width)
      : size_(size),
        height_(height),
        width_(width),
        padded_(size + 2 * kPadding),
        words_((padded_ + 63) / 64),
        bits_(words_ * padded_) {}

  // mask: [size, size] bytes, nonzero is foreground; box: x0, y0, x1, y1 in pixels.
  template <typename T>
  std::string encode(const std::uint8_t* mask, const T* box) {
    changes_.clear();
    rows_.assign(box[1], box[3], height_, size_);
    columns_.assign(box[0], box[2], width_, size_);
    if (rows_.length() > 0 && columns_.length() > 0) {
      read_bits(mask);
      find_row_starts();
      std::int64_t cell = -1;
      for (std::int64_t column = 0; column < columns_.length(); ++column) {
        if (columns_.low[column] != cell) find_segments(cell = columns_.low[column]);
        walk(column);
      }
    }
    return coco_string(changes_, height_ * width_);
  }

 private:
  // Pixels of a column that lie between the same two rows of cells.
  struct Segment {
    std::int64_t begin, end;  // rows of the box
    bool is_mixed;  // otherwise all its pixels, and those up to the next segment, are `on`
    bool on;
    std::array<float, 4> corners;  // 0 or 1: top left, top right, bottom left, bottom right
  };

  // The padded mask, each column of it as bits of `words_` words; word-major, so that the loop over
  // a row of bytes is one over consecutive words.
  void read_bits(const std::uint8_t* mask) {
    std::fill(bits_.begin(), bits_.end(), 0);
    for (std::int64_t row = 0; row < size_; ++row) {
      const std::int64_t place = row + kPadding;
      std::uint64_t* const words = bits_.data() + place / 64 * padded_ + kPadding;
      const std::uint8_t* const bytes = mask + row * size_;
      const int shift = static_cast<int>(place % 64);
      for (std::int64_t column = 0; column < size_; ++column)
        words[column] |= static_cast<std::uint64_t>(bytes[column] != 0) << shift;
    }
  }

  // The first row of the box at or below each row of cells.
  void find_row_starts() {
    row_starts_.resize(padded_ + 1);
    std::int64_t row = 0;
    for (std::int64_t cell = 0; cell <= padded_; ++cell) {
      while (row < rows_.length() && rows_.low[row] < cell) ++row;
      row_starts_[cell] = row;
    }
  }

  // Bits of one column of the padded mask; `one_down` gives for each row the bit of the next one.
  std::uint64_t column_word(std::int64_t column, std::int64_t word) const {
    return word < words_ ? bits_[word * padded_ + column] : 0;
  }
  std::uint64_t one_down(std::int64_t column, std::int64_t word) const {
    return column_word(column, word) >> 1 | column_word(column, word + 1) << 63;
  }

  // Where the pixels between this column of cells and the next begin to be on, off or mixed.
  void find_segments(std::int64_t cell) {
    segments_.clear();
    std::uint64_t all_before = 0, mixed_before = 0;  // the words above, for their last bits
    for (std::int64_t word = 0; word < words_; ++word) {
      const std::uint64_t top_left = column_word(cell, word);
      const std::uint64_t top_right = column_word(cell + 1, word);
      const std::uint64_t bottom_left = one_down(cell, word);
      const std::uint64_t bottom_right = one_down(cell + 1, word);
      const std::uint64_t all = top_left & top_right & bottom_left & bottom_right;
      const std::uint64_t mixed = (top_left | top_right | bottom_left | bottom_right) & ~all;
      const std::uint64_t after_mixed = mixed << 1 | mixed_before >> 63;
      const std::uint64_t changed = all ^ (all << 1 | all_before >> 63);
      for (std::uint64_t left = mixed | after_mixed | changed; left != 0; left &= left - 1) {
        const int bit = lowest_bit(left);
        const std::int64_t row = word * 64 + bit;
        const auto corner = [bit](std::uint64_t bits) {
          return static_cast<float>(bits >> bit & 1);
        };
        segments_.push_back(
            {row_starts_[row],
             row_starts_[row + 1],
             (mixed >> bit & 1) != 0,
             (all >> bit & 1) != 0,
             {corner(top_left), corner(top_right), corner(bottom_left), corner(bottom_right)}});
      }
      all_before = all, mixed_before = mixed;
    }
  }

  // The changes down one column of the image.
  void walk(std::int64_t column) {
    const std::int64_t top = (columns_.first + column) * height_ + rows_.first;
    const float left = columns_.low_weight[column], right = columns_.high_weight[column];
    bool is_on = false;
    for (const Segment& segment : segments_) {
      if (!segment.is_mixed) {
        if (segment.on != is_on) change(top + segment.begin), is_on = segment.on;
        continue;
      }
      const auto& [top_left, top_right, bottom_left, bottom_right] = segment.corners;
      for (std::int64_t row = segment.begin; row < segment.end; ++row) {
        const float upper = rows_.low_weight[row], lower = rows_.high_weight[row];
        // grid_sample's order of terms.
        const float value = top_left * (upper * left) + top_right * (upper * right) +
                            bottom_left * (lower * left) + bottom_right * (lower * right);
        if ((value >= 0.5f) != is_on) change(top + row), is_on = !is_on;
      }
    }
    if (is_on) change(top + rows_.length());
  }

  // Two changes at one place are none: a column that is on to its end, and the next from its start.
  void change(std::int64_t position) {
    if (!changes_.empty() && changes_.back() == position) {
      changes_.pop_back();
    } else {
      changes_.push_back(position);
    }
  }

  std::int64_t size_, height_, width_, padded_, words_;
  PastedAxis rows_, columns_;
  std::vector<std::uint64_t> bits_;       // [words, padded]
  std::vector<std::int64_t> row_starts_;  // [padded + 1]
  std::vector<Segment> segments_;
  std::vector<std::int64_t> changes_;
};

}  // namespace solq
