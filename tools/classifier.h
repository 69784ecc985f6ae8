#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cli.h"
#include "reducenet/data.h"
#include "reducenet/graph.h"
#include "reducenet/runtime.h"

namespace reducenet::cli {

/// How the model wants its images: from its metadata, or, when that says nothing, pixels in [0, 1] of its input's size.
Preprocessing preprocessing_of(const Graph& graph);
/// Loads images as `preprocessing` wants them, with a progress bar.
ImageSet load_for(const Preprocessing& preprocessing, const std::string& path, Split split, bool skip_corrupt);
/// --skip-corrupt
inline void add_skip_corrupt(CLI::App& app, bool& skip_corrupt) {
  app.add_flag("--skip-corrupt", skip_corrupt, "Leave out files that cannot be decoded, and count them");
}
/// Images in a run: as many as the file fixes for the model's input, `wanted` where it leaves that open.
int64_t batch_for(const Graph& graph, int64_t wanted);
/// Images `which` of a set as inputs of so many each, dense floats; the last is filled up with the first images.
std::vector<std::vector<float>> batches_of(const Preprocessing& preprocessing, const ImageSet& images,
                                           std::span<const int64_t> which, int64_t batch);
/// The first `count` images of a set as inputs of the model: one [count, C, H, W], or several of the batch it is fixed
/// to.
std::vector<Tensor> real_inputs(const Graph& graph, const ImageSet& images, int64_t count);
/// Logical processors of this machine.
int default_threads();

/// A model with one image input and one row of scores, ready to run.
class Classifier {
 public:
  /// `batch`: images at once, where the model leaves that open. `dtype`: of every layer that can be, so that scores are
  /// those of the number type, whatever this CPU runs faster.
  Classifier(const Graph& graph, int64_t batch, int threads, DType dtype = DType::f32);

  const Preprocessing& preprocessing() const { return preprocessing_; }
  const Plan& plan() const { return plan_; }
  int64_t classes() const { return classes_; }
  /// The class's name, or its number.
  std::string class_name(int64_t index) const;
  const std::vector<std::string>& class_names() const { return names_; }
  /// Scores [count][classes] of images first … first+count−1; count is at most the batch. Valid until the next call.
  std::span<const float> scores(const ImageSet& images, int64_t first, int64_t count);
  int64_t batch() const { return batch_; }
  /// Whether the scores are probabilities already.
  bool ends_in_softmax() const { return softmax_; }

 private:
  int64_t batch_;
  Preprocessing preprocessing_;
  std::vector<std::string> names_;
  Plan plan_;
  int64_t classes_;
  bool softmax_;
  std::vector<float> input_, output_;
};

struct Evaluation {
  double top1 = 0, top5 = 0;
  int64_t n = 0;
  std::vector<std::vector<int64_t>> confusion;  ///< [label][prediction]
};

/// Top-1, top-5 and confusion. Labels meet classes by name where both sides have names, by number otherwise.
/// Error(bad_input) when a label has no class.
Evaluation evaluate_images(Classifier& classifier, const ImageSet& images,
                           const std::function<void(int64_t done, int64_t total)>& progress = {});

}  // namespace reducenet::cli
