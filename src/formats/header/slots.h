#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "formats/header/blob.h"
#include "runtime/lower.h"

namespace reducenet::header {

/// A tensor in the header's memory.
struct Slot {
  Shape shape;
  int64_t block = 0;            ///< channels in a row of pixels: 16, 1, or 0 for plain
  int64_t left = 0, right = 0;  ///< pixels of zeros beside every row
  Buffer::Place place = Buffer::Place::arena;
  int64_t offset = 0;    ///< floats
  std::string constant;  ///< where it stands, for constants
  int view_of = -1;
  narrow::Affine affine;  ///< what bytes would mean
  bool rounded = false;   ///< to what they hold
};

/// Rows of pixels, of all channels.
inline int64_t blocks_of(const Slot& slot) {
  return ceil_div(slot.shape[1], slot.block);
}

/// The tensors of a header, in the forms that its calls want, and the calls.
class Slots {
 public:
  /// One for each of the program's buffers, under its index; constants go to the blob.
  Slots(const Program& program, Blob& blob);
  Slot& operator[](int slot) { return slots_[static_cast<size_t>(slot)]; }
  const Slot& operator[](int slot) const { return slots_[static_cast<size_t>(slot)]; }

  /// The same elements in another form, by a call where they do not have it: plain; as an image of that shape, `block`
  /// channels in a row of pixels; rounded to what the buffer's bytes hold.
  int plain(int slot);
  int image(int slot, const Shape& shape, int64_t block);
  int image(const Port& port) { return image(port.buffer, port.shape, kBlock); }
  int image(const Step& step) { return image(step.inputs[0]); }
  int in_bytes(int buffer, int slot);
  /// The step's output, as an image or, with block 0, plain.
  int output(const Step& step, int64_t block);
  /// A call. Its text is made when every slot has its place.
  void add(std::string comment, std::vector<int> reads, int writes, std::function<std::string()> code);

  // As C++; the text is right once every slot has its place.

  /// A pointer to the slot's first element: the pixel (0, 0), or `left` pixels before it.
  std::string pointer(int slot, int64_t left = 0) const;
  /// A Layout of the header: floats between images, planes and rows; zeros for what lies plain, and for none (−1).
  std::string layout(int slot) const;
  /// What rounds floats to what the buffer's bytes hold.
  std::string rounding(int buffer) const;

  /// In floats.
  struct Sizes {
    int64_t arena = 0, inputs = 0, outputs = 0;
  };
  /// Gives every slot its place, the program's outputs one behind the other.
  Sizes place(const std::vector<int>& outputs);
  /// All calls, in order.
  std::string calls() const;

 private:
  struct Item {
    std::string comment;
    std::vector<int> reads;
    int writes = -1;
    std::function<std::string()> code;
  };
  int new_slot(Slot slot);
  int root(int slot) const;
  std::string borders(int slot) const;

  std::vector<Slot> slots_;  // the program's buffers, then what was added
  std::vector<Item> items_;
  std::map<std::tuple<int, int64_t, Shape>, int> converted_;  // (slot, block, shape) → its copy; block −1: in bytes
  Sizes sizes_;
};

}  // namespace reducenet::header
