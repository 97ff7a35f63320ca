// GraphView: a run of a graph as it happens, one line a node, on standard error where that is a terminal.
//
//   GraphView view;                                       // draws nothing where standard error is no terminal
//   auto modes = view.modes();                            // what it must be fed; empty where it draws nothing
//   while (auto event = stream.next_blocking()) view.event(*event);
//   view.finish();
//
//   ⠋ draft     1.2 s  37 tokens  It was a dark and
//   ✓ grade     0.4 s             {"verdict":"good"}
//   ✗ send      0.1 s             no connection to mail.example
//   ? approve   3.0 s             {"question":"publish?"}
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "corvid/graphs/run.hpp"

namespace corvid::cli {

/// Any thread.
class GraphView {
 public:
  using Clock = std::chrono::steady_clock;

  struct Options {
    bool active = true;                              ///< false: takes events and draws nothing
    bool colour = true;
    bool animate = true;                             ///< a thread turns the spinner
    int width = 0, height = 0;                       ///< 0: the terminal's
    std::function<Clock::time_point()> clock;        ///< null: the steady clock
    std::function<void(std::string_view)> out;       ///< null: standard error
  };

  /// As standard error is: a terminal or not; colour unless NO_COLOR is set.
  GraphView();
  explicit GraphView(Options options);
  ~GraphView();
  GraphView(const GraphView&) = delete;
  GraphView& operator=(const GraphView&) = delete;

  bool active() const noexcept { return options_.active; }
  /// The stream modes from which it is drawn.
  std::vector<StreamMode> modes() const;
  void event(const StreamEvent& event);
  /// Takes the drawing off the screen, so that something else can be written; the next event brings it back.
  void clear();
  /// Draws the last state and leaves it there. What has not ended is shown as stopped.
  void finish();

  /// The lines as they stand, without movements of the cursor.
  std::vector<std::string> lines() const;

 private:
  struct Row {
    std::string name;
    std::map<std::string, Clock::time_point> running;   // by task
    std::size_t started = 0, done = 0;
    bool failed = false, waiting = false;
    Clock::time_point since{}, until{};                  // of the last time that anything of it ran
    std::int64_t tokens = 0;
    std::string text;
  };

  Row& row(const StreamEvent& event);
  void task(Row& row, const StreamEvent& event);
  std::vector<std::string> make_lines() const;
  struct Widths { int name = 0, count = 0, tokens = 0; };   // columns
  static std::string count_of(const Row& row);
  static std::string tokens_of(const Row& row);
  std::string make_line(const Row& row, const Widths& widths, int width) const;
  std::pair<int, int> size() const;
  void draw(bool now);
  void erase(std::string& out);
  void write(std::string_view bytes) const;
  Clock::time_point now() const { return options_.clock ? options_.clock() : Clock::now(); }

  Options options_;
  mutable std::mutex mutex_;
  std::vector<Row> rows_;                                // in the order in which they first ran
  std::map<std::pair<std::string, std::string>, std::size_t> by_name_;   // by namespace and node
  std::size_t drawn_ = 0;                                // lines on the screen
  Clock::time_point last_drawn_{};
  bool finished_ = false;
  std::condition_variable wake_;
  std::thread thread_;
};

}  // namespace corvid::cli
