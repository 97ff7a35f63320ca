#include "apps/cli/graph_view.hpp"

#include "support/catch.hpp"

using namespace corvid;
using corvid::cli::GraphView;
using namespace std::chrono_literals;

namespace {

struct Screen {
  std::string written;
  GraphView::Clock::time_point time{1000s};
  GraphView::Options options(int width = 60, int height = 10, bool colour = false) {
    GraphView::Options out;
    out.colour = colour;
    out.animate = false;
    out.width = width;
    out.height = height;
    out.clock = [this] { return time; };
    out.out = [this](std::string_view bytes) { written += bytes; };
    return out;
  }
};

StreamEvent event(StreamMode mode, std::string node, Json data, std::string task = "1", std::string ns = {}) {
  StreamEvent out;
  out.mode = mode;
  out.node = std::move(node);
  out.task_id = std::move(task);
  out.ns = std::move(ns);
  out.data = std::move(data);
  return out;
}
StreamEvent start(const std::string& node, std::string task = "1", std::string ns = {}) {
  return event(StreamMode::tasks, node, {{"id", task}, {"name", node}, {"triggers", Json::array()}}, task, std::move(ns));
}
StreamEvent end(const std::string& node, Json rest, std::string task = "1") {
  rest["id"] = task;
  return event(StreamMode::tasks, node, std::move(rest), task);
}

}  // namespace

TEST_CASE("graph view: a line a node, as it stands") {
  Screen screen;
  GraphView view(screen.options(70));
  CHECK(view.modes().size() == 3);
  view.event(start("draft"));
  screen.time += 1200ms;
  for (const char* token : {"It", " was", "\n", "a dark"}) view.event(event(StreamMode::messages, "draft", {{"text", token}}));
  view.event(event(StreamMode::messages, "draft", {{"usage", 4}}));
  CHECK(view.lines() == std::vector<std::string>{"⠹ draft   1.2 s  4 tokens  a dark"});
  view.event(end("draft", {{"result", {{"draft", "x"}}}, {"error", nullptr}, {"interrupts", Json::array()}}));
  view.event(start("approve"));
  view.event(start("send", "2"));
  screen.time += 500ms;
  view.event(end("approve", {{"interrupts", {{{"value", {{"question", "publish?"}}}}}}}));
  view.event(end("send", {{"error", "no connection\nto mail"}}, "2"));
  CHECK(view.lines() == std::vector<std::string>{
                            "✓ draft     1.2 s  4 tokens  a dark",
                            "? approve   0.5 s            {\"question\":\"publish?\"}",
                            "✗ send      0.5 s            no connection to mail",
                        });
  view.event(start("draft", "3"));
  screen.time += 100s;
  CHECK(view.lines()[0].find(" 1/2  1:40 m") != std::string::npos);
  view.finish();
  CHECK(view.lines()[0].substr(0, 1) == "-");
}

TEST_CASE("graph view: fan-out, subgraphs, text that does not fit or would move the cursor") {
  Screen screen;
  GraphView view(screen.options(50));
  for (int i = 0; i < 100; ++i) view.event(start("map", std::to_string(i)));
  for (int i = 0; i < 37; ++i) view.event(end("map", {{"result", 1}}, std::to_string(i)));
  view.event(event(StreamMode::custom, "map", "\033[2Jwide 日本語日本語日本語 and \xff more"));
  view.event(start("inner", "7", "outer:8f14e45f|deep:c9f0f895"));
  const auto lines = view.lines();
  REQUIRE(lines.size() == 2);
  CHECK(lines[0] == "⠋ map              37/100   0.0 s   [2Jwide 日本語");
  CHECK(lines[1].find("outer/deep/inner") != std::string::npos);
}

TEST_CASE("graph view: draws over itself, and leaves the last state") {
  Screen screen;
  GraphView view(screen.options());
  view.event(start("a"));
  view.event(start("b"));  // too soon after the first
  CHECK(std::count(screen.written.begin(), screen.written.end(), '\n') == 1);
  screen.time += 1s;
  view.event(event(StreamMode::custom, "b", 5));
  CHECK(screen.written.find("\033[1F\033[J") != std::string::npos);
  view.clear();
  CHECK(screen.written.substr(screen.written.size() - 7) == "\033[2F\033[J");
  screen.written.clear();
  view.finish();
  CHECK(screen.written.find("\033[") == std::string::npos);
  CHECK(std::count(screen.written.begin(), screen.written.end(), '\n') == 2);
  view.event(start("late"));
  view.finish();
  CHECK(view.lines().size() == 2);
}

TEST_CASE("graph view: a small screen shows what matters; colours only where wanted; nothing where there is no terminal") {
  Screen screen;
  GraphView view(screen.options(60, 5, true));
  for (int i = 0; i < 8; ++i) view.event(start("n" + std::to_string(i)));
  for (int i = 1; i < 8; ++i) view.event(end("n" + std::to_string(i), i == 2 ? Json{{"error", "bad"}} : Json{{"result", 1}}));
  const auto lines = view.lines();
  REQUIRE(lines.size() == 4);
  CHECK(lines[0].find("n0") != std::string::npos);
  CHECK(lines[1].find("n2") != std::string::npos);
  CHECK(lines[1].find("\033[31m") != std::string::npos);
  CHECK(lines[2].find("n7") != std::string::npos);
  CHECK(lines[3] == "  … and 5 more");
  Screen dark;
  auto options = dark.options();
  options.active = false;
  GraphView none(options);
  CHECK(none.modes().empty());
  none.event(start("a"));
  none.finish();
  CHECK(dark.written.empty());
}

TEST_CASE("graph view: its thread turns the spinner and ends") {
  Screen screen;
  auto options = screen.options();
  options.animate = true;
  options.clock = nullptr;
  GraphView view(options);
  view.event(start("a"));
  std::this_thread::sleep_for(30ms);
}
