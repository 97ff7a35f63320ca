// Progress: how far a long call has come. The library reports, the program draws.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace corvid {

struct ProgressUpdate {
  std::string_view stage;   ///< "load", "embed", "ingest", …; valid during the call only
  std::uint64_t done = 0;
  std::uint64_t total = 0;  ///< 0 = unknown
  std::string_view detail;  ///< a file's name, say; may be empty
};

/// Called from the working thread, at most a few times a second per stage and once at its end. Must not throw.
using ProgressSink = std::function<void(const ProgressUpdate&)>;

}  // namespace corvid
