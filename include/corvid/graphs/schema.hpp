// Channels and reducers: what a graph's state consists of and how parallel writes join.
//
//   std::vector<ChannelSpec> channels;
//   channels.push_back(json_channel("log", append_json()));
//   auto schema = std::make_shared<const Schema>(std::move(channels));
//
// Typed graphs get theirs from the keys of a struct (key.hpp); this is what they become, and what graph files build.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/result.hpp"
#include "corvid/graphs/value.hpp"

namespace corvid {

/// Joins the current value (absent before the first write) with one superstep's writes, which come in task-path order. Called once a
/// superstep; a delta channel requires r(r(s, xs), ys) = r(s, xs + ys). Must not block. Errors: bad_input.
using ReduceFunction = std::function<Result<Value>(Value current, std::span<Value> writes)>;

struct Reducer {
  std::string name = "overwrite";       ///< part of the graph's signature: rename it when its meaning changes
  ReduceFunction reduce;                ///< null: the only write replaces the value, and two in one superstep are an error
  bool delta = false;                   ///< checkpoints keep the writes, and the whole value now and then
};

enum class ChannelLife : std::uint8_t {
  kept,        ///< until written again
  ephemeral,   ///< for the superstep after the one that wrote it
  untracked,   ///< kept while the run lasts, not checkpointed
};

struct ChannelSpec {
  std::string name;                     ///< not empty, does not start with "__"
  const ValueType* type = nullptr;
  Reducer reducer;
  ChannelLife life = ChannelLife::kept;
  std::optional<Value> initial;         ///< before the first write; absent: nothing (reads give T{})
};

/// A graph's channels by index and name. Immutable, shared.
class Schema {
 public:
  static constexpr std::uint32_t npos = 0xffffffff;
  explicit Schema(std::vector<ChannelSpec> channels);
  std::size_t size() const noexcept { return channels_.size(); }
  const ChannelSpec& at(std::size_t index) const { return channels_[index]; }
  std::uint32_t find(std::string_view name) const noexcept;     ///< npos where there is none
  const std::vector<ChannelSpec>& channels() const noexcept { return channels_; }

 private:
  std::vector<ChannelSpec> channels_;
  std::vector<std::uint32_t> by_name_;  // sorted by name
};

/// One write of a node, invisible to others until the barrier.
struct ChannelWrite {
  std::uint32_t channel = Schema::npos; ///< index in the graph's schema
  Value value;
  bool overwrite = false;               ///< replaces the value whatever the reducer (Overwrite)
};

/// What a reducer's key accepts in graph files: overwrite, append, add_messages, add, union.
/// Errors: not_found naming those there are.
Result<Reducer> json_reducer(std::string_view name);
/// A channel of JSON values for graph files; `type` is one of integer, number, boolean, string, list, object, json, checked on writing.
/// Errors: not_found.
Result<ChannelSpec> json_channel(std::string name, std::string_view type, Reducer reducer);

/// append on JSON lists: a write that is no list is appended as one element.
Reducer append_json();
/// add_messages on JSON lists of objects: a message whose "id" is there already replaces that one; one without an id gets one derived from
/// the run (deterministic); {"role": "remove", "id": ID} removes, with id "__remove_all__" all before it.
Reducer add_messages_json();

}  // namespace corvid
