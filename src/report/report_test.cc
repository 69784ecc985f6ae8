#include "report/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "reducenet/builder.h"
#include "report/html.h"
#include "report/network.h"

namespace reducenet::report {
namespace {

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

TEST(Html, EscapesEverythingThatHasAMeaning) {
  EXPECT_EQ(escape(R"(<a href="x">'&'</a>)"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
}

TEST(Ticks, AreRoundAndInside) {
  EXPECT_EQ(ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(ticks(0.13, 0.46, 4), (std::vector<double>{2 * 0.1, 3 * 0.1, 4 * 0.1}));
  EXPECT_EQ(ticks(-3, 3, 3), (std::vector<double>{-2, 0, 2}));
  EXPECT_EQ(ticks(1, 1, 5), std::vector<double>{1});
}

TEST(Chart, DrawsFinitePointsInsideTheFrame) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::string html = to_html(Chart{
      .title = "loss <1>", .x_label = "epoch", .y_label = "nats", .series = {{"a&b", {{0, 2}, {1, nan}, {2, 1}}}}});
  EXPECT_EQ(count(html, "<polyline"), 1U);
  EXPECT_EQ(count(html, "<circle"), 2U);
  EXPECT_EQ(count(html, "nan"), 0U) << html;
  EXPECT_NE(html.find("loss &lt;1&gt;"), std::string::npos);
  EXPECT_NE(html.find("a&amp;b"), std::string::npos);
  EXPECT_NE(html.find("points=\"46.0,12.0 448.0,220.0 \""), std::string::npos) << html;
}

TEST(Chart, KeepsColoursByPlaceAndLeavesOutEmptySeries) {
  const std::string html = to_html(Chart{.title = "c", .series = {{"a", {{0, 1}}}, {"b", {}}, {"c", {{0, 2}}}}});
  EXPECT_EQ(count(html, "<polyline"), 2U);
  EXPECT_EQ(count(html, "class=\"k1\""), 0U);
  EXPECT_EQ(count(html, "class=\"k2\""), 1U);
}

TEST(Chart, OfNothingIsStillAFrame) {
  EXPECT_EQ(count(to_html(Chart{.title = "empty"}), "<svg"), 1U);
}

TEST(Network, HasOneBlockPerNodeByKind) {
  GraphBuilder b("net");
  ValueId x = b.input("x", {1, 3, 8, 8});
  x = b.conv("conv", x, 4, {3, 3}, {.padding = {1, 1, 1, 1}});
  x = b.batch_norm("bn", x);
  x = b.fade("fade", x, {Activation::Kind::relu});
  x = b.activation("relu", x, {Activation::Kind::relu});
  b.output(x);
  Graph graph = std::move(b).finish();
  std::string html = to_html(graph, "net");
  EXPECT_EQ(count(html, "class=\"block "), graph.nodes.size());
  EXPECT_EQ(count(html, "block weights"), 1U);
  EXPECT_EQ(count(html, "Conv 3x3 → 4<"), 1U) << html;
  EXPECT_EQ(count(html, "block plain"), 1U);
  EXPECT_EQ(count(html, "block nonlinear"), 2U);
  std::get<Fade>(graph[graph.find_node("fade")].op).lambda = 0;
  html = to_html(graph, "net");
  EXPECT_EQ(count(html, "block faded"), 1U);
  EXPECT_EQ(count(html, "block nonlinear"), 1U);
}

TEST(Report, IsSelfContainedAndBalanced) {
  Report report("T <x>", "summary");
  report.section("one", "text & more");
  report.add(Table{{{"", "top-1"}, {"reduce", "90.1"}, {"plain", "89.0"}}});
  report.add({Chart{.title = "c", .series = {{"s", {{0, 0}, {1, 1}}}}}});
  report.command("reducenet demo --out \"x\"");
  const std::string html = report.html();
  EXPECT_EQ(count(html, "<tr>"), 3U);
  EXPECT_EQ(count(html, "http"), 0U);
  EXPECT_EQ(count(html, "src="), 0U);
  for (const char* tag : {"table", "thead", "tbody", "figure", "svg", "h1", "h2", "p", "pre"}) {
    const std::string name = tag;
    EXPECT_EQ(count(html, "<" + name + ">") + count(html, "<" + name + " "), count(html, "</" + name + ">")) << name;
  }
}

}  // namespace
}  // namespace reducenet::report
