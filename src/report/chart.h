#pragma once

#include <string>
#include <utility>
#include <vector>

namespace reducenet::report {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  ///< (x, y), x ascending
};

/// Lines over a common x axis. A series' place decides its colour; without points it is left out, and its colour with
/// it.
struct Chart {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  bool from_zero = false;  ///< the y axis includes 0
};

/// The chart as one <figure> with inline SVG. Points that are not finite are left out.
std::string to_html(const Chart& chart);

/// Positions of at most about `count` round tick marks that cover [low, high].
std::vector<double> ticks(double low, double high, int count);

}  // namespace reducenet::report
