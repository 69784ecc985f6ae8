#pragma once

#include <string>
#include <vector>

namespace reducenet::cli {

/// Rows of text in aligned columns; columns that hold numbers only stand at the right.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string str() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace reducenet::cli
