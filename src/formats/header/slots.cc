#include "formats/header/slots.h"

#include <fmt/format.h>

#include "formats/header/text.h"
#include "runtime/arena.h"

namespace reducenet::header {
namespace {

int64_t row_of(const Slot& slot) {
  return (slot.left + slot.shape[3] + slot.right) * slot.block;
}
int64_t floats_of(const Slot& slot) {
  return slot.block == 0 ? element_count(slot.shape) : slot.shape[0] * blocks_of(slot) * slot.shape[2] * row_of(slot);
}

}  // namespace

Slots::Slots(const Program& program, Blob& blob) {
  for (const Buffer& buffer : program.buffers) {
    slots_.push_back({.shape = buffer.shape, .place = buffer.place, .affine = buffer.affine});
    if (buffer.place != Buffer::Place::constant) continue;
    slots_.back().constant = blob.add(std::vector<float>(buffer.constant.begin(), buffer.constant.end()));
  }
  for (const int input : program.inputs) {
    (*this)[input].offset = sizes_.inputs;
    sizes_.inputs += element_count((*this)[input].shape);
  }
}

int Slots::new_slot(Slot slot) {
  slots_.push_back(std::move(slot));
  return static_cast<int>(slots_.size()) - 1;
}

int Slots::root(int slot) const {
  while ((*this)[slot].view_of >= 0) slot = (*this)[slot].view_of;
  return slot;
}

void Slots::add(std::string comment, std::vector<int> reads, int writes, std::function<std::string()> code) {
  items_.push_back({std::move(comment), std::move(reads), writes, std::move(code)});
}

int Slots::plain(int slot) {
  if ((*this)[slot].block == 0) return slot;
  const auto [known, fresh] = converted_.try_emplace({slot, 0, Shape{}});
  if (!fresh) return known->second;
  const Shape shape = (*this)[slot].shape;
  const int copy = known->second = new_slot({.shape = shape});
  add("as plain " + to_string(shape), {slot}, copy, [=, this] {
    return fmt::format("  to_plain({}, {}, {}, {}, {}, {}, {});\n", shape[0], shape[1], shape[2], shape[3],
                       layout(slot), pointer(slot), pointer(copy));
  });
  return copy;
}

int Slots::image(int slot, const Shape& shape, int64_t block) {
  if ((*this)[slot].block == block && (*this)[slot].shape == shape) return slot;
  slot = plain(slot);
  const auto [known, fresh] = converted_.try_emplace({slot, block, shape});
  if (!fresh) return known->second;
  const int copy = known->second = new_slot({.shape = shape, .block = block});
  add("as rows of pixels", {slot}, copy, [=, this] {
    return fmt::format("  to_rows({}, {}, {}, {}, {}, {}, {}, {});\n", shape[0], shape[1], shape[2], shape[3], block,
                       layout(copy), pointer(slot), pointer(copy));
  });
  return copy;
}

int Slots::in_bytes(int buffer, int slot) {
  if ((*this)[buffer].rounded) return slot;
  const auto [known, fresh] = converted_.try_emplace({slot, -1, Shape{}});
  if (!fresh) return known->second;
  const int copy = known->second = new_slot({.shape = (*this)[slot].shape, .block = (*this)[slot].block});
  add("rounded to 8 bits", {slot}, copy, [=, this] {
    const Slot& s = (*this)[copy];
    return fmt::format(
        "  for_each_row({}, {}, {}, {}, {}, {}, {}, {});\n",
        s.block == 0 ? fmt::format("1, 1, 1, {}", element_count(s.shape))
                     : fmt::format("{}, {}, {}, {}", s.shape[0], blocks_of(s), s.shape[2], s.shape[3] * s.block),
        layout(copy), layout(slot), layout(slot), pointer(copy), pointer(slot), pointer(slot), rounding(buffer));
  });
  return copy;
}

int Slots::output(const Step& step, int64_t block) {
  Slot& slot = (*this)[step.output.buffer];
  slot.shape = step.output.shape;
  slot.block = block;
  return step.output.buffer;
}

std::string Slots::pointer(int slot, int64_t left) const {
  const Slot &s = (*this)[slot], &memory = (*this)[root(slot)];
  constexpr const char* names[] = {"a", "input", "output"};
  if (memory.place == Buffer::Place::constant) return memory.constant;
  return fmt::format("{} + {}", names[static_cast<size_t>(memory.place)], memory.offset + (s.left - left) * s.block);
}

std::string Slots::layout(int slot) const {
  if (slot < 0 || (*this)[slot].block == 0) return "{0, 0, 0}";
  const Slot& s = (*this)[slot];
  return fmt::format("{{{}, {}, {}}}", blocks_of(s) * s.shape[2] * row_of(s), s.shape[2] * row_of(s), row_of(s));
}

std::string Slots::rounding(int buffer) const {
  const narrow::Affine& as = (*this)[buffer].affine;
  return fmt::format("Rounded{{{}, {}, {}, {}}}", number(1 / as.scale), number(as.scale), number(-as.zero),
                     number(255 - as.zero));
}

Slots::Sizes Slots::place(const std::vector<int>& outputs) {
  for (int output : outputs) {
    output = plain(output);
    if ((*this)[root(output)].place != Buffer::Place::arena) {
      const int copy = new_slot({.shape = (*this)[output].shape});
      add("copied to the output", {output}, copy, [=, this] {
        return fmt::format("  copy_runs(1, {0}, {0}, {1}, {2});\n", floats_of((*this)[copy]), pointer(output),
                           pointer(copy));
      });
      output = copy;
    }
    Slot& slot = (*this)[root(output)];
    slot.place = Buffer::Place::output;
    slot.offset = sizes_.outputs;
    sizes_.outputs += element_count(slot.shape);
  }
  std::vector<Lifetime> lifetimes(slots_.size());
  for (int i = 0; i < std::ssize(items_); ++i) {
    const Item& item = items_[static_cast<size_t>(i)];
    const int made = root(item.writes);
    if ((*this)[made].place == Buffer::Place::arena) {
      lifetimes[static_cast<size_t>(made)] = {floats_of((*this)[made]), i, i};
    }
    for (const int read : item.reads) lifetimes[static_cast<size_t>(root(read))].last = i;
  }
  const ArenaLayout arena = reducenet::place(lifetimes);
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].place == Buffer::Place::arena) slots_[i].offset = arena.offsets[i];
  }
  sizes_.arena = arena.size;
  return sizes_;
}

std::string Slots::borders(int slot) const {
  const Slot& s = (*this)[slot];
  if (s.left + s.right == 0) return "";
  return fmt::format("  zero_borders({}, {}, {}, {}, {});\n", pointer(slot), s.shape[0] * blocks_of(s) * s.shape[2],
                     row_of(s), s.left * s.block, s.right * s.block);
}

std::string Slots::calls() const {
  std::string text;
  for (const Item& item : items_) text += fmt::format("  // {}\n", item.comment) + borders(item.writes) + item.code();
  return text;
}

}  // namespace reducenet::header
