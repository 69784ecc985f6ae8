#include <fmt/format.h>

#include <fstream>
#include <iterator>

#include "explore_html.h"
#include "records.h"
#include "reducenet/error.h"
#include "reducenet/formats.h"

namespace reducenet::cli {
namespace {

/// Chart.js, where the system has it; otherwise nothing, and the page says so.
std::string chart_library() {
  for (const char* path : {"/usr/share/javascript/chart.js/chart.min.js", "/usr/share/javascript/chart.js/Chart.min.js",
                           "/usr/share/javascript/chart.js/chart.js", "/usr/share/nodejs/chart.js/dist/chart.min.js",
                           "/usr/share/nodejs/chart.js/dist/chart.js"}) {
    std::ifstream in(path, std::ios::binary);
    if (in) return {std::istreambuf_iterator<char>(in), {}};
  }
  return "";
}

void replace(std::string& text, std::string_view mark, const std::string& by) {
  const size_t at = text.find(mark);
  if (at == text.npos) throw std::logic_error("the page lacks " + std::string(mark));
  text.replace(at, mark.size(), by);
}

/// Text that stands inside a script element: nothing in it ends the element.
std::string inside_script(std::string text) {
  for (const auto& [mark, safe] : {std::pair{"</script", "<\\/script"}, {"<!--", "<\\!--"}}) {
    for (size_t at = 0; (at = text.find(mark, at)) != text.npos;) text.replace(at, std::string_view(mark).size(), safe);
  }
  return text;
}

}  // namespace

Json latency_axis() {
  return {{"key", "ms"}, {"label", "milliseconds, batch 1, one thread"}};
}

void write_page(const std::filesystem::path& path, const Json& data) {
  std::string page = explore_html;
  replace(page, "/*DATA*/", inside_script(data.dump()));
  replace(page, "/*CHART*/", inside_script(chart_library()));
  write_atomically(path, std::as_bytes(std::span(page)));
}

}  // namespace reducenet::cli
