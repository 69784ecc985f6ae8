#pragma once

#include <string>
#include <vector>

#include "reducenet/collapse.h"
#include "reducenet/graph.h"

namespace reducenet {

/// One merged region: compared in double on crops that meet every border class, and tested for superposition
/// f(a) + f(b) − f(0) = f(a + b).
struct RegionCheck {
  std::string name;                ///< of the value that the region makes
  double max_abs_error = 0;        ///< before against after, both in double
  double bound = 0;                ///< largest error that rounding the merged constants can account for, Σ|w|·|x|·ε
  double error_to_bound = 0;       ///< largest share of an error in that bound at the same output
  double scale = 0;                ///< largest magnitude of the region's output
  double superposition_error = 0;  ///< of the original nodes, relative; 0 where the merged ones are not linear either
  std::string not_run;             ///< why the original nodes could not be run: shapes that are not known
  bool holds() const { return error_to_bound <= 1 && superposition_error <= 1e-6; }
};

/// Whether two graphs are the same function, and how closely. Tolerance (docs/design.md, "exact or refused"): the
/// second in float32 may be off the first in double by 4 times what the first in float32 is, plus 1e-5 relative.
struct Certificate {
  bool verified = false;
  double max_abs_error = 0;   ///< after in float32 against before in double, over every sample and output
  double max_rel_error = 0;   ///< the same, divided by the largest magnitude of the reference output
  double own_rel_error = 0;   ///< before in float32 against before in double
  double tolerance = 0;       ///< what max_rel_error may be
  double top1_agreement = 1;  ///< share of samples (of their positions, if they have any) whose largest output is
                              ///< the same class
  int64_t samples = 0;
  double sample_seconds = 0, region_seconds = 0;  ///< what the checks took
  std::vector<RegionCheck> regions;
  std::string why;      ///< when not verified
  std::string not_run;  ///< why the whole network was not run: an op that is not executed here
  std::string engine;   ///< that ran the networks, when it was not the oracle

  /// Takes in what the regions say: all must hold; one that was not run needs the whole network to have been run.
  void judge_regions();
};

struct VerifyOptions {
  int64_t samples = 8;  ///< random inputs (unit normal)
  uint64_t seed = 0;
  std::vector<Tensor> real_inputs;  ///< each [N, …]: checked as well
};

/// Compares whole networks with equal signatures. Throws Error(bad_input) when the signatures differ.
Certificate verify(const Graph& before, const Graph& after, const VerifyOptions& options = {});

/// Compares the original with its collapse, whole and region by region; verified only when both hold. Where the oracle
/// cannot run the whole (an op that is not executed here, a shape that is not known), `not_run` says so, and the
/// regions are the proof: all other nodes are the original's.
Certificate verify(const Graph& before, const Collapsed& collapsed, const VerifyOptions& options = {});

/// The inputs that verify() draws and is given: for open sizes, of several sizes (`largest`: of the largest only).
std::vector<std::vector<Tensor>> sample_inputs(const Graph& graph, const VerifyOptions& options, bool largest = false);
/// Compares outputs that another engine computed in float32, sample by sample; tolerance 1e-4 relative.
Certificate compare(const std::vector<std::vector<Tensor>>& before, const std::vector<std::vector<Tensor>>& after);

/// Checks every region in double, on crops no larger than it takes to meet every border class. NaN fails.
std::vector<RegionCheck> check_regions(const Graph& before, const Collapsed& collapsed);

/// Relative superposition error of the graph, 0 (to rounding) when it is affine: max |f(a)+f(b)−f(0)−f(a+b)| / max|f|.
double superposition_error(const Graph& graph, uint64_t seed = 0);

}  // namespace reducenet
