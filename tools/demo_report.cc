#include <fmt/format.h>

#include <algorithm>

#include "demo.h"
#include "progress.h"
#include "report/report.h"
#include "table.h"

namespace reducenet::cli {
namespace {

const std::vector<std::string> header{"network",   "layers", "non-linear", "M MACs",
                                      "k params.", "ms",     "top-1 %",    "max rel. error"};

std::vector<std::string> row(const std::string& name, const Measured& side, const std::string& error) {
  return {name,
          std::to_string(count_layers(side.graph)),
          std::to_string(count_nonlinear(side.graph)),
          fmt::format("{:.2f}", static_cast<double>(count_macs(side.graph)) / 1e6),
          fmt::format("{:.1f}", static_cast<double>(count_parameters(side.graph)) / 1e3),
          milliseconds_text(side.median_ms),
          fmt::format("{:.2f}", 100 * side.top1),
          error};
}

std::vector<std::vector<std::string>> rows(const std::vector<Entry>& entries) {
  std::vector<std::vector<std::string>> out;
  for (const Entry& entry : entries) {
    out.push_back(row(fmt::format("{}, as trained", entry.contestant.name), entry.before, "-"));
    out.push_back(row(fmt::format("{}, collapsed", entry.contestant.name), entry.after,
                      fmt::format("{:.1e}", entry.certificate.max_rel_error)));
  }
  return out;
}

Json side_json(const Measured& side) {
  return {{"layers", count_layers(side.graph)}, {"nonlinear", count_nonlinear(side.graph)},
          {"macs", count_macs(side.graph)},     {"params", count_parameters(side.graph)},
          {"median_ms", side.median_ms},        {"top1", side.top1}};
}

/// One curve per network; an epoch's figure stands at its end.
template <class PointsOf>
report::Chart curves(const std::vector<Entry>& entries, const char* title, const char* unit, PointsOf points_of) {
  report::Chart chart{.title = title, .x_label = "epoch", .y_label = unit, .series = {}, .from_zero = true};
  for (const Entry& entry : entries) {
    chart.series.push_back({.name = entry.contestant.name, .points = points_of(entry)});
  }
  return chart;
}

/// A curve through what every epoch of the history has for `member`; negative figures were not measured.
auto by_epoch(double train::EpochMetrics::*member) {
  return [member](const Entry& entry) {
    std::vector<std::pair<double, double>> points;
    for (const train::EpochMetrics& metrics : entry.training.history) {
      if (metrics.*member >= 0) points.emplace_back(metrics.epoch, metrics.*member);
    }
    return points;
  };
}

}  // namespace

int64_t count_layers(const Graph& graph) {
  return std::ranges::count_if(graph.nodes, [](const Node& node) {
    return std::holds_alternative<Conv2d>(node.op) || std::holds_alternative<ConvTranspose2d>(node.op) ||
           std::holds_alternative<Gemm>(node.op) || std::holds_alternative<MatMul>(node.op);
  });
}

std::string demo_text(const std::vector<Entry>& entries, const DemoFacts& facts) {
  Table table(header);
  for (auto& line : rows(entries)) table.add(std::move(line));
  return table.str() +
         fmt::format("{} epochs each on {}; top-1 of {} test images; ms: one image, one thread; {} in all\n",
                     facts.epochs, facts.data, facts.test_images, clock_time(facts.seconds));
}

Json demo_json(const std::vector<Entry>& entries, const DemoFacts& facts) {
  Json json{{"data", facts.data},
            {"epochs", facts.epochs},
            {"test_images", facts.test_images},
            {"estimated_s", facts.estimated_s},
            {"seconds", facts.seconds},
            {"networks", Json::array()}};
  for (const Entry& entry : entries) {
    json["networks"].push_back({{"name", entry.contestant.name},
                                {"before", side_json(entry.before)},
                                {"after", side_json(entry.after)},
                                {"verified", entry.certificate.verified},
                                {"max_rel_error", entry.certificate.max_rel_error},
                                {"tolerance", entry.certificate.tolerance},
                                {"folder", entry.folder.string()}});
  }
  return json;
}

std::string demo_html(const std::vector<Entry>& entries, const DemoFacts& facts) {
  report::Report page(
      "Train deep, deploy shallow",
      "Deep networks whose activations fade out while they train, collapsed by exact algebra into fewer "
      "layers, and run.");
  page.section("Before and after",
               fmt::format("Epochs each: {}, on {}. Top-1 is of {} test images, read once, through the runtime. "
                           "Milliseconds are the median of one image on one thread of this machine.",
                           facts.epochs, facts.data, facts.test_images));
  report::Table table{{header}};
  for (auto& line : rows(entries)) table.rows.push_back(std::move(line));
  page.add(table);
  for (const Entry& entry : entries)
    page.paragraph(fmt::format("{}: {}.", entry.contestant.name, entry.contestant.role));

  page.section("Training", "λ is the share of the activation that is left: at 0 it has become the identity.");
  page.add({curves(entries, "Loss", "training, nats", by_epoch(&train::EpochMetrics::loss)),
            curves(entries, "Accuracy", "held-out images", by_epoch(&train::EpochMetrics::val_top1)),
            curves(entries, "λ", "mean over the fading activations", [](const Entry& entry) { return entry.fade; })});

  page.section("The networks",
               "Blue: layers with weights. Orange: not linear. Point at a block for its name and shape.");
  for (const Entry& entry : entries) {
    page.network(entry.untrained, fmt::format("{}, while it trains", entry.contestant.name));
    page.network(entry.after.graph, fmt::format("{}, deployed", entry.contestant.name));
  }

  page.section(
      "Certificates",
      "Every collapsed network was compared with the trained one, evaluated in double, on random and on real "
      "inputs; every merged region by itself, with the test that it is linear: f(a) + f(b) − f(0) = f(a + b).");
  report::Table certificates{{{"network", "max abs. error", "max rel. error", "tolerance", "top-1 agreement", "samples",
                               "regions", "superposition"}}};
  for (const Entry& entry : entries) {
    const Certificate& c = entry.certificate;
    double superposition = 0;
    for (const RegionCheck& region : c.regions) superposition = std::max(superposition, region.superposition_error);
    certificates.rows.push_back({entry.contestant.name, fmt::format("{:.1e}", c.max_abs_error),
                                 fmt::format("{:.1e}", c.max_rel_error), fmt::format("{:.1e}", c.tolerance),
                                 fmt::format("{:.1f} %", 100 * c.top1_agreement), std::to_string(c.samples),
                                 std::to_string(c.regions.size()), fmt::format("{:.1e}", superposition)});
  }
  page.add(certificates);
  page.section("Again",
               fmt::format("The whole of this page in one command ({} on this machine):", clock_time(facts.seconds)));
  page.command(facts.command);
  return page.html();
}

}  // namespace reducenet::cli
