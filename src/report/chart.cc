#include "report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/html.h"

namespace reducenet::report {
namespace {

constexpr double width = 460, height = 260, left = 46, right = 12, top = 12, bottom = 40;

struct Range {
  double low = 0, high = 1;
  bool empty = true;

  void include(double v) {
    low = empty ? v : std::min(low, v);
    high = empty ? v : std::max(high, v);
    empty = false;
  }
};

/// Linear map of a range onto pixels.
struct Axis {
  double low, high, from, to;
  double operator()(double v) const { return from + (v - low) / (high - low) * (to - from); }
};

Axis axis(Range range, double from, double to) {
  if (range.high <= range.low) range.high = range.low + 1;
  return {range.low, range.high, from, to};
}

bool is_drawable(const std::pair<double, double>& p) {
  return std::isfinite(p.first) && std::isfinite(p.second);
}

std::string grid(const Chart& chart, const Axis& x, const Axis& y) {
  std::string svg;
  for (const double v : ticks(y.low, y.high, 5)) {
    svg +=
        fmt::format(R"(<line class="grid" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/>)", left, width - right, y(v));
    svg += fmt::format(R"(<text x="{}" y="{:.1f}" text-anchor="end">{}</text>)", left - 6, y(v) + 4, number(v));
  }
  for (const double v : ticks(x.low, x.high, 7)) {
    svg +=
        fmt::format(R"(<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>)", x(v), height - bottom + 16, number(v));
  }
  svg +=
      fmt::format(R"(<line class="axis" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>)", left, width - right, height - bottom);
  svg += fmt::format(R"(<text x="{}" y="{}" text-anchor="middle">{}</text>)", (left + width - right) / 2, height - 4,
                     escape(chart.x_label));
  return svg;
}

std::string line(const Series& series, size_t colour, const Axis& x, const Axis& y) {
  std::string points, dots;
  int64_t count = 0;
  for (const auto& p : series.points) {
    if (!is_drawable(p)) continue;
    ++count;
    points += fmt::format("{:.1f},{:.1f} ", x(p.first), y(p.second));
    dots += fmt::format(R"(<circle class="c{}" cx="{:.1f}" cy="{:.1f}" r="3"><title>{}: {} at {}</title></circle>)",
                        colour, x(p.first), y(p.second), escape(series.name), number(p.second), number(p.first));
  }
  constexpr int64_t most_dots = 40;
  return fmt::format(R"(<polyline class="line s{}" points="{}"/>)", colour, points) + (count <= most_dots ? dots : "");
}

}  // namespace

std::vector<double> ticks(double low, double high, int count) {
  if (!(high > low) || count < 1) return {low};
  const double raw = (high - low) / count, magnitude = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * magnitude;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * magnitude >= raw) {
      step = factor * magnitude;
      break;
    }
  }
  std::vector<double> out;
  const auto first = static_cast<int64_t>(std::ceil(low / step - 1e-9));
  const auto last = static_cast<int64_t>(std::floor(high / step + 1e-9));
  for (int64_t i = first; i <= last; ++i) out.push_back(static_cast<double>(i) * step);
  return out;
}

std::string to_html(const Chart& chart) {
  Range xs, ys;
  if (chart.from_zero) ys.include(0);
  for (const Series& series : chart.series) {
    for (const auto& p : series.points) {
      if (!is_drawable(p)) continue;
      xs.include(p.first);
      ys.include(p.second);
    }
  }
  const Axis x = axis(xs, left, width - right), y = axis(ys, height - bottom, top);
  std::string svg = grid(chart, x, y), legend;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    if (std::ranges::none_of(chart.series[i].points, is_drawable)) continue;
    svg += line(chart.series[i], i % 6, x, y);
    legend += fmt::format(R"(<span class="key"><i class="k{}"></i>{}</span>)", i % 6, escape(chart.series[i].name));
  }
  const std::string title = escape(chart.title);
  return fmt::format(
      R"(<figure><figcaption><b>{}</b> <small>{}</small></figcaption><svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg><div class="legend">{}</div></figure>)",
      title, escape(chart.y_label), width, height, title, svg, legend);
}

}  // namespace reducenet::report
