#include "report/report.h"

#include <fmt/format.h>

#include "report/html.h"
#include "report/network.h"

namespace reducenet::report {
namespace {

constexpr std::string_view style = R"(
:root { color-scheme: light dark; --page: #fcfcfb; --ink: #1d2530; --soft: #66707d; --rule: #dfe3e8; --card: #fff;
  --c0: #2563c9; --c1: #d9730d; --c2: #16876b; --c3: #9a3fb5; --c4: #c2314a; --c5: #6b7280; --tint: 14%; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --ink: #e4e8ee; --soft: #98a2b0; --rule: #2c323b;
  --card: #1b1f26; --c0: #6ea3ff; --c1: #f5a04c; --c2: #4cc7a4; --c3: #cd8ae6; --c4: #f0798d; --c5: #a2abb8; --tint: 24%; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 2.5rem 1.25rem 5rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; letter-spacing: -.01em; margin: 2.75rem 0 .5rem; padding-top: 1.25rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.25rem 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; } .lead { font-size: 1.1rem; color: var(--soft); }
small { color: var(--soft); font-weight: 400; font-size: .85rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .7rem; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; } thead th { color: var(--soft); font-weight: 500; font-size: .85rem; }
tbody th { font-weight: 600; } pre { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: .7rem .9rem; overflow-x: auto; font-size: .9rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem; }
figure { margin: .5rem 0; background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: .9rem 1rem .7rem; }
svg { display: block; width: 100%; height: auto; margin-top: .4rem; font-size: 14px; } svg text { fill: var(--soft); }
.grid { stroke: var(--rule); } .axis { stroke: var(--soft); } .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); } .s3 { stroke: var(--c3); } .s4 { stroke: var(--c4); } .s5 { stroke: var(--c5); }
.c0 { fill: var(--c0); } .c1 { fill: var(--c1); } .c2 { fill: var(--c2); } .c3 { fill: var(--c3); } .c4 { fill: var(--c4); } .c5 { fill: var(--c5); }
.k0 { background: var(--c0); } .k1 { background: var(--c1); } .k2 { background: var(--c2); } .k3 { background: var(--c3); } .k4 { background: var(--c4); } .k5 { background: var(--c5); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .85rem; } .key i { display: inline-block; width: .9rem; height: .2rem; border-radius: 1px; margin-right: .4rem; vertical-align: middle; }
.blocks { display: flex; flex-wrap: wrap; gap: 4px; } .block { font-size: .74rem; line-height: 1.2; padding: .22rem .45rem; border-radius: 5px; border: 1px solid var(--rule); color: var(--soft); background: var(--card); }
.block.weights { color: var(--c0); border-color: var(--c0); background: color-mix(in srgb, var(--c0) var(--tint), transparent); font-weight: 600; }
.block.nonlinear { color: var(--c1); border-color: var(--c1); background: color-mix(in srgb, var(--c1) var(--tint), transparent); font-weight: 600; }
.block.faded { color: var(--c1); border: 1px dashed var(--c1); opacity: .75; }
)";

std::string cells(const std::vector<std::string>& row, std::string_view first, std::string_view rest) {
  std::string html;
  for (size_t i = 0; i < row.size(); ++i) {
    const std::string_view tag = i == 0 ? first : rest;
    html += fmt::format("<{0}>{1}</{0}>", tag, escape(row[i]));
  }
  return "<tr>" + html + "</tr>";
}

}  // namespace

Report::Report(std::string_view title, std::string_view summary) : title_(escape(title)) {
  body_ = fmt::format("<h1>{}</h1><p class=\"lead\">{}</p>\n", title_, escape(summary));
}

void Report::section(std::string_view title, std::string_view text) {
  body_ += fmt::format("<h2>{}</h2>\n", escape(title));
  if (!text.empty()) paragraph(text);
}

void Report::paragraph(std::string_view text) {
  body_ += fmt::format("<p>{}</p>\n", escape(text));
}

void Report::add(const Table& table) {
  body_ += "<div class=\"scroll\"><table>";
  for (size_t i = 0; i < table.rows.size(); ++i) {
    body_ +=
        i == 0 ? "<thead>" + cells(table.rows[i], "th", "th") + "</thead><tbody>" : cells(table.rows[i], "th", "td");
  }
  body_ += "</tbody></table></div>\n";
}

void Report::add(const std::vector<Chart>& charts) {
  body_ += "<div class=\"charts\">";
  for (const Chart& chart : charts) body_ += to_html(chart);
  body_ += "</div>\n";
}

void Report::network(const Graph& graph, const std::string& title) {
  body_ += to_html(graph, title) + "\n";
}

void Report::command(std::string_view line) {
  body_ += fmt::format("<pre>{}</pre>\n", escape(line));
}

std::string Report::html() const {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width, "
      "initial-scale=1\"><title>{}</title><style>{}</style></head><body>\n{}</body></html>\n",
      title_, style, body_);
}

}  // namespace reducenet::report
