#include "graph/lines.h"

#include <algorithm>
#include <map>
#include <string_view>

namespace reducenet {
namespace {

constexpr int64_t kRow = 2;  // the axis
constexpr std::string_view kEntry = ".image";

/// Works element by element or channel by channel, whatever the positions are.
bool goes_along(const Op& op) {
  return std::visit(Overloaded{
                        [](const OneOf<BatchNorm, Unary, Binary, Variadic, Activation, PRelu, Fade, GlobalAveragePool,
                                       GlobalMaxPool, Identity, Dropout, Concat, Pad> auto&) { return true; },
                        [](const auto&) { return false; },
                    },
                    op);
}

bool is_line_of_floats(const Value& value) {
  return is_line(value.shape) && is_float(value.dtype);
}

void add_row(Value& value) {
  value.shape = with_row(*value.shape);
  if (value.constant) value.constant = value.constant->reshaped(*value.shape);
}

void drop_row(Value& value) {
  value.shape = without_row(*value.shape);
  if (value.constant) value.constant = value.constant->reshaped(*value.shape);
}

/// The op's axes and paddings of a line, as those of an image.
void add_row(Op& op) {
  if (auto* concat = std::get_if<Concat>(&op)) concat->axis += concat->axis == kRow ? 1 : concat->axis < -1 ? -1 : 0;
  if (auto* pad = std::get_if<Pad>(&op)) {
    pad->begin.insert(pad->begin.begin() + kRow, 0);
    pad->end.insert(pad->end.begin() + kRow, 0);
  }
}

void drop_row(Op& op) {
  if (auto* concat = std::get_if<Concat>(&op)) concat->axis += concat->axis > kRow ? -1 : concat->axis < -2 ? 1 : 0;
  if (auto* pad = std::get_if<Pad>(&op)) {
    pad->begin.erase(pad->begin.begin() + kRow);
    pad->end.erase(pad->end.begin() + kRow);
  }
}

/// A list or a scalar, which goes with an image as with a line.
bool is_short(const Value& value) {
  return value.shape && value.shape->size() < 2;
}

/// A constant beside rows: broadcast to [N, C, 1, L], it has no second row to tell from the first.
bool has_one_row(const Shape& shape) {
  return shape[shape.size() - 2] == 1;
}

bool is_insertion(const Op& op, bool insert) {
  const auto* squeeze = std::get_if<Squeeze>(&op);
  return squeeze && squeeze->insert == insert && squeeze->axes == std::vector<int64_t>{kRow};
}

/// The value is an output, or a node reads it that does not change.
bool is_read_unchanged(const Uses& uses, const std::vector<bool>& changes, ValueId id) {
  const auto stays = [&](NodeId reader) { return !changes[static_cast<size_t>(reader.index)]; };
  return uses.is_output[static_cast<size_t>(id.index)] || std::ranges::any_of(uses.consumers_of(id), stays);
}

/// A constant that is read both by nodes that change and by others: the copy for the first.
class Constants {
 public:
  Constants(Graph& graph, const Uses& uses, const std::vector<bool>& changes)
      : graph_(graph), uses_(uses), changes_(changes) {}

  ValueId changed(ValueId id, std::string_view suffix, void (*change)(Value&)) {
    if (is_short(graph_[id])) return id;
    const auto [found, fresh] = made_.emplace(id, id);
    if (!fresh) return found->second;
    if (is_read_unchanged(uses_, changes_, id)) {
      Value copy = graph_[id];
      copy.name = graph_.unique_name(copy.name + std::string(suffix));
      found->second = graph_.add_value(std::move(copy));
    }
    change(graph_[found->second]);
    return found->second;
  }

 private:
  Graph& graph_;
  const Uses& uses_;
  const std::vector<bool>& changes_;
  std::map<ValueId, ValueId> made_;
};

// ---- to images

class ToImages {
 public:
  explicit ToImages(Graph& graph) : graph_(graph), uses_(graph), changes_(graph.nodes.size()) {}

  void run() {
    for (size_t i = 0; i < graph_.nodes.size(); ++i) changes_[i] = changes(graph_.nodes[i]);
    if (std::ranges::none_of(changes_, [](bool one) { return one; })) return;
    std::vector<Node> before;
    before.swap(graph_.nodes);
    Constants constants(graph_, uses_, changes_);
    for (size_t i = 0; i < before.size(); ++i) {
      Node& node = before[i];
      if (!changes_[i]) {
        graph_.nodes.push_back(std::move(node));
        continue;
      }
      for (size_t k = 0; k < node.inputs.size(); ++k) {
        ValueId& id = node.inputs[k];
        const bool is_bias = k == 2 && slides(node.op);
        if (!id || is_bias || is_short(graph_[id])) continue;
        id = graph_[id].constant ? constants.changed(id, kEntry, add_row) : image_of(id);
      }
      add_row(node.op);
      const ValueId line = node.outputs[0];
      const bool read_as_line = is_read_unchanged(uses_, changes_, line);
      if (read_as_line) {
        node.outputs[0] = new_image(line);
      } else {
        add_row(graph_[line]);
      }
      images_[line] = node.outputs[0];
      graph_.nodes.push_back(std::move(node));
      if (read_as_line) add_squeeze(images_[line], line);
    }
  }

 private:
  bool changes(const Node& node) const {
    const bool made = !node.inputs.empty() && !node.outputs.empty() && node.outputs[0];
    if (!made || !is_line_of_floats(graph_[node.outputs[0]])) return false;
    if (slides(node.op)) return true;  // of an image, it would have made one
    if (!goes_along(node.op) || std::ranges::count_if(node.outputs, &ValueId::operator bool) != 1) return false;
    bool behind_one = false;
    for (const ValueId id : node.inputs) {
      if (!id || is_short(graph_[id])) continue;
      const Value& value = graph_[id];
      if (value.constant ? value.shape->size() > 3 : !is_line_of_floats(value)) return false;
      const NodeId producer = uses_.producer_of(id);
      behind_one |= producer && changes_[static_cast<size_t>(producer.index)];
    }
    const auto* pad = std::get_if<Pad>(&node.op);
    return behind_one && (!pad || (pad->begin.size() == 3 && pad->end.size() == 3));
  }

  ValueId new_image(ValueId line) {
    Value image{.name = graph_.unique_name(graph_[line].name + std::string(kEntry)),
                .dtype = graph_[line].dtype,
                .shape = with_row(*graph_[line].shape)};
    return graph_.add_value(std::move(image));
  }

  ValueId image_of(ValueId line) {
    const auto [found, fresh] = images_.emplace(line, ValueId{});
    if (fresh) {
      found->second = new_image(line);
      graph_.nodes.push_back({graph_[found->second].name, Squeeze{true, {kRow}}, {line}, {found->second}, ""});
    }
    return found->second;
  }

  void add_squeeze(ValueId image, ValueId line) {
    graph_.nodes.push_back(
        {graph_.unique_name(graph_[line].name + ".line"), Squeeze{false, {kRow}}, {image}, {line}, ""});
  }

  Graph& graph_;
  const Uses uses_;
  std::vector<bool> changes_;          // by node, as they were
  std::map<ValueId, ValueId> images_;  // by line
};

// ---- and back

class ToLines {
 public:
  explicit ToLines(Graph& graph) : graph_(graph), uses_(graph), changes_(graph.nodes.size()) {}

  void run() {
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      changes_[i] = is_entry(node) || works_by_rows(node);
    }
    while (shrink()) {
    }
    if (std::ranges::none_of(changes_, [](bool one) { return one; })) return;
    Constants constants(graph_, uses_, changes_);
    std::map<ValueId, ValueId> renamed;
    std::vector<Node> before;
    before.swap(graph_.nodes);
    for (size_t i = 0; i < before.size(); ++i) {
      Node& node = before[i];
      if (changes_[i] && is_entry(node)) {
        renamed[node.outputs[0]] = node.inputs[0];
        continue;
      }
      if (is_insertion(node.op, false) && renamed.contains(node.outputs[0])) continue;
      for (ValueId& id : node.inputs) {
        if (const auto found = renamed.find(id); found != renamed.end()) id = found->second;
        if (changes_[i] && id && graph_.constant(id)) {
          id = constants.changed(id, ".line", drop_row);
        }
      }
      if (changes_[i]) leave(node, before, renamed);
      graph_.nodes.push_back(std::move(node));
    }
  }

 private:
  bool is_entry(const Node& node) const {
    return is_insertion(node.op, true) && node.inputs.size() == 1 && is_line_of_floats(graph_[node.inputs[0]]) &&
           node.name.find(kEntry) != std::string::npos;
  }

  bool works_by_rows(const Node& node) const {
    if (!slides(node.op) && !goes_along(node.op)) return false;
    if (node.inputs.empty() || node.outputs.size() != 1 || !is_row_image(node.outputs[0])) return false;
    for (const ValueId id : node.inputs) {
      if (!id) continue;
      const Value& value = graph_[id];
      if (!is_short(value) && !(value.constant ? has_one_row(*value.shape) : is_row_image(id))) return false;
    }
    const auto none = [](const Padding& p) { return p.top == 0 && p.bottom == 0; };
    return std::visit(
        Overloaded{
            [&](const Conv2d& op) { return none(op.padding); },
            [&](const ConvTranspose2d& op) { return none(op.padding) && op.output_padding[0] == 0; },
            [&](const OneOf<AveragePool, MaxPool> auto& op) { return op.kernel[0] == 1 && none(op.padding); },
            [](const Pad& op) { return op.begin.size() == 4 && op.begin[kRow] == 0 && op.end[kRow] == 0; },
            [](const Concat& op) { return op.axis != kRow && op.axis != kRow - 4; },
            [](const auto&) { return true; },
        },
        node.op);
  }

  bool is_row_image(ValueId id) const {
    const Value& value = graph_[id];
    return value.shape && value.shape->size() == 4 && (*value.shape)[kRow] == 1 && is_float(value.dtype);
  }

  bool stays(NodeId node) const { return !node || !changes_[static_cast<size_t>(node.index)]; }

  /// Every value between is read by what changes, or by one Squeeze. True if a node had to be left as it is.
  bool shrink() {
    bool shrunk = false;
    for (size_t i = 0; i < changes_.size(); ++i) {
      if (!changes_[i]) continue;
      const Node& node = graph_.nodes[i];
      const ValueId made = node.outputs[0];
      bool may = !uses_.is_output[static_cast<size_t>(made.index)];
      if (!is_entry(node)) {
        for (const ValueId id : node.inputs) {
          may &= !id || is_short(graph_[id]) || graph_[id].constant || !stays(uses_.producer_of(id));
        }
      }
      int squeezes = 0;
      for (const NodeId reader : uses_.consumers_of(made)) {
        const bool squeeze = is_insertion(graph_[reader].op, false);
        squeezes += squeeze;
        may &= squeeze || !stays(reader);
      }
      if (may && squeezes <= (is_entry(node) ? 0 : 1)) continue;
      changes_[i] = false;
      shrunk = true;
    }
    return shrunk;
  }

  /// The node's output becomes a line: that of the Squeeze behind, if there is one.
  void leave(Node& node, const std::vector<Node>& before, std::map<ValueId, ValueId>& renamed) {
    drop_row(node.op);
    const ValueId image = node.outputs[0];
    for (const NodeId reader : uses_.consumers_of(image)) {
      const Node& squeeze = before[static_cast<size_t>(reader.index)];
      if (!is_insertion(squeeze.op, false)) continue;
      node.outputs[0] = squeeze.outputs[0];
      renamed[image] = squeeze.outputs[0];
      renamed[squeeze.outputs[0]] = squeeze.outputs[0];
      return;
    }
    drop_row(graph_[image]);
  }

  Graph& graph_;
  const Uses uses_;
  std::vector<bool> changes_;  // by node, as they were
};

}  // namespace

bool slides(const Op& op) {
  return std::holds_alternative<Conv2d>(op) || std::holds_alternative<ConvTranspose2d>(op) ||
         std::holds_alternative<AveragePool>(op) || std::holds_alternative<MaxPool>(op);
}

Shape with_row(Shape line) {
  if (line.size() >= 2) line.insert(line.end() - 1, 1);
  return line;
}

Shape without_row(Shape image) {
  if (image.size() >= 2) image.erase(image.end() - 2);
  return image;
}

void lines_to_images(Graph& graph) {
  ToImages(graph).run();
}

void images_to_lines(Graph& graph) {
  ToLines(graph).run();
}

}  // namespace reducenet
