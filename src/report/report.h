#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "reducenet/graph.h"
#include "report/chart.h"

namespace reducenet::report {

/// The first row is the header, the first column names the rows.
struct Table {
  std::vector<std::vector<std::string>> rows;
};

/// One HTML page without any external file: sections are appended in reading order. All text is escaped.
class Report {
 public:
  Report(std::string_view title, std::string_view summary);

  void section(std::string_view title, std::string_view text = {});
  void paragraph(std::string_view text);
  void add(const Table& table);
  /// Charts side by side.
  void add(const std::vector<Chart>& charts);
  void network(const Graph& graph, const std::string& title);
  /// A command, to copy.
  void command(std::string_view line);

  std::string html() const;

 private:
  std::string title_, body_;
};

}  // namespace reducenet::report
