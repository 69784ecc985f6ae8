#include "runtime/skip.h"

#include <algorithm>

namespace reducenet {
namespace {

class Finder {
 public:
  explicit Finder(Program& program) : program_(program) { note_makers(); }

  void find() {
    for (int i = 0; i < static_cast<int>(program_.steps.size()); ++i) {
      const auto* const binary = std::get_if<Binary>(&step(i).op);
      if (!binary || binary->kind != Binary::Kind::mul || step(i).inputs.size() != 2) continue;
      for (int k = 0; k < 2; ++k) try_product(i, k);
    }
  }

 private:
  static size_t at(int index) { return static_cast<size_t>(index); }

  void note_makers() {
    maker_.assign(program_.buffers.size(), -1);
    for (int i = 0; i < static_cast<int>(program_.steps.size()); ++i) {
      int& maker = maker_[at(root(step(i).output.buffer))];
      maker = maker == -1 ? i : -2;
    }
  }
  int root(int index) const {
    while (program_.buffers[at(index)].view_of >= 0) index = program_.buffers[at(index)].view_of;
    return index;
  }
  Step& step(int index) { return program_.steps[at(index)]; }

  /// Every reader of what step `i` makes is among the members, and it is no output of the network.
  bool serves_only(int i, const std::vector<bool>& members) {
    const int made = root(step(i).output.buffer);
    if (program_.buffers[at(made)].place != Buffer::Place::arena) return false;
    for (size_t k = 0; k < program_.steps.size(); ++k) {
      const bool reads =
          std::ranges::any_of(program_.steps[k].inputs, [&](const Port& p) { return root(p.buffer) == made; });
      if (reads && !members[k]) return false;
    }
    return maker_[at(made)] == i;
  }

  /// Product `i`, its input k the gate.
  void try_product(int i, int k) {
    const Port &gate = step(i).inputs[at(k)], &x = step(i).inputs[at(1 - k)];
    const Layout layout = program_.buffers[at(x.buffer)].layout;
    const bool floats = layout == Layout::plain || layout == Layout::blocked;
    const int source = maker_[at(root(gate.buffer))], last = maker_[at(root(x.buffer))];
    if (element_count(gate.shape) != 1 || element_count(x.shape) == 1 || source < 0 || !floats || step(i).gate >= 0)
      return;
    std::vector<bool> members(program_.steps.size());
    members[at(i)] = true;
    int first = i;
    for (int before = i - 1; before >= 0; --before) {
      if (before == source || step(before).gate >= 0 || !serves_only(before, members)) continue;
      members[at(before)] = true;
      first = before;
    }
    if (first == i || last < 0 || !members[at(last)]) return;
    for (int member = first; member <= i; ++member) {
      if (members[at(member)]) step(member).gate = gate.buffer;
    }
    // The gate, and whatever else is not of the block, first: it reads nothing that the block makes.
    std::vector<Step> ordered;
    for (const bool of_block : {false, true}) {
      for (int s = first; s < i; ++s) {
        if (members[at(s)] == of_block) ordered.push_back(std::move(step(s)));
      }
    }
    std::ranges::move(ordered, program_.steps.begin() + first);
    step(i).zeroed = 1 - k;
    note_makers();
  }

  Program& program_;
  std::vector<int> maker_;  // by buffer: the one step that makes it; −1: none, −2: several
};

}  // namespace

void find_skips(Program& program) {
  Finder(program).find();
}

}  // namespace reducenet
