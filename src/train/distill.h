#pragma once

#include <filesystem>
#include <memory>

#include "train/feed.h"

namespace reducenet::train {

/// A network that others learn from: in inference mode, without gradients. Its graph is collapsed first where that is
/// exact, so that it costs as little as it can.
class Teacher {
 public:
  Teacher(const Graph& graph, at::Device device, bool collapsed = true);

  /// Scores [N, classes]; with pair(), the attention maps are left for hint_loss().
  at::Tensor scores(const at::Tensor& pixels);
  /// Hints: the values that end each resolution common to both networks (1×1 left out) are watched in both.
  /// Error(usage) when there is none.
  void pair(Network& student);
  /// Mean over pairs of Σ(Q(student) − Q(teacher))², a mean over the batch, from the last forward of both; Q = the map
  /// Σ_c a_c² over the channels, scaled to length 1 (Zagoruyko and Komodakis, arXiv 1612.03928, equation 2, p = 2).
  at::Tensor hint_loss(const Network& student) const;

  /// The network itself; its weights may be changed between two calls of scores().
  Network& network() { return *network_; }

 private:
  std::unique_ptr<Network> network_;
};

/// T²·KL(softmax(teacher/T) ‖ softmax(student/T)), a mean over the batch (Hinton et al., arXiv 1503.02531).
at::Tensor distillation_loss(const at::Tensor& student, const at::Tensor& teacher, double temperature);

/// A teacher from a file. Error(usage) when it sees images differently prepared or names other classes than `student`;
/// a batch that it is fixed to is opened (open_batch.h), or it is refused.
Graph load_teacher(const std::filesystem::path& path, const Graph& student);

}  // namespace reducenet::train
