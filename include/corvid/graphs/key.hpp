// Key<T>, StateOf<S>, Update<S>: typed state. A wrong type or an unknown key does not compile.
//
//   struct Review {
//     Key<std::string> draft{"draft"};
//     Key<std::vector<std::string>> notes{"notes", append};
//     Key<int> rounds{"rounds", [](int a, int b) { return a + b; }};
//   };
//   auto node = [](const StateOf<Review>& state) {
//     return update(&Review::notes, {"too long: " + state[&Review::draft]}).set(&Review::rounds, 1);
//   };
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "corvid/graphs/schema.hpp"

namespace corvid {

struct OverwriteReducer {};
struct AppendReducer {};
struct AddMessagesReducer {};
struct EphemeralLife {};
struct UntrackedLife {};
inline constexpr OverwriteReducer overwrite{};        ///< the default
inline constexpr AppendReducer append{};              ///< T is a std::vector: writes are appended in task order
inline constexpr AddMessagesReducer add_messages{};   ///< T is std::vector<Json>, or Json
inline constexpr EphemeralLife ephemeral{};           ///< gone after one superstep
inline constexpr UntrackedLife untracked{};           ///< never checkpointed

namespace detail {

// Collects the keys of a state struct while it is constructed.
class LayoutBuilder {
 public:
  LayoutBuilder();
  ~LayoutBuilder();
  LayoutBuilder(const LayoutBuilder&) = delete;
  LayoutBuilder& operator=(const LayoutBuilder&) = delete;
  std::vector<ChannelSpec> channels;
  static std::uint32_t add(ChannelSpec spec);         // index in the builder being filled on this thread; npos without one

 private:
  LayoutBuilder* outer_;
};

template <class T>
Reducer append_reducer() {
  static_assert(is_vector<T>::value, "append joins lists: the key's type must be a std::vector");
  Reducer reducer;
  reducer.name = "append";
  reducer.delta = true;
  reducer.reduce = [](Value current, std::span<Value> writes) -> Result<Value> {
    T list = current ? current.take<T>() : T{};
    for (Value& write : writes) {
      T more = write.take<T>();
      list.insert(list.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    }
    return Value::of(std::move(list));
  };
  return reducer;
}

Reducer add_messages_list();                          // over std::vector<Json>

template <class T, class F>
Reducer custom_reducer(F join, std::string name) {
  Reducer reducer;
  reducer.name = std::move(name);
  reducer.reduce = [join = std::move(join)](Value current, std::span<Value> writes) -> Result<Value> {
    T value = current ? current.take<T>() : T{};
    for (Value& write : writes) value = join(std::move(value), write.take<T>());
    return Value::of(std::move(value));
  };
  return reducer;
}

}  // namespace detail

/// A member of a state struct. T is copyable and has a nlohmann_json conversion, or is a std::shared_ptr to a ModelState.
template <class T>
class Key {
 public:
  using type = T;

  explicit(false) Key(std::string name) : Key(std::move(name), overwrite) {}
  Key(std::string name, OverwriteReducer) { add(std::move(name), {}, ChannelLife::kept); }
  Key(std::string name, AppendReducer) { add(std::move(name), detail::append_reducer<T>(), ChannelLife::kept); }
  Key(std::string name, AddMessagesReducer) {
    static_assert(std::is_same_v<T, std::vector<Json>> || std::is_same_v<T, Json>, "add_messages joins lists of JSON objects");
    if constexpr (std::is_same_v<T, Json>) add(std::move(name), add_messages_json(), ChannelLife::kept);
    else add(std::move(name), detail::add_messages_list(), ChannelLife::kept);
  }
  Key(std::string name, EphemeralLife) { add(std::move(name), {}, ChannelLife::ephemeral); }
  Key(std::string name, UntrackedLife) { add(std::move(name), {}, ChannelLife::untracked); }
  /// `join(T current, T write) -> T`, called for each write in task order; `reducer_name` goes into the graph's signature.
  template <class F>
    requires std::is_invocable_r_v<T, F&, T, T>
  Key(std::string name, F join, std::string reducer_name = "custom") {
    add(std::move(name), detail::custom_reducer<T>(std::move(join), std::move(reducer_name)), ChannelLife::kept);
  }

  std::uint32_t index() const noexcept { return index_; }

 private:
  void add(std::string name, Reducer reducer, ChannelLife life) {
    ChannelSpec spec;
    spec.name = std::move(name);
    spec.type = &value_type<T>();
    spec.reducer = std::move(reducer);
    spec.life = life;
    index_ = detail::LayoutBuilder::add(std::move(spec));
  }
  std::uint32_t index_ = Schema::npos;
};

/// The keys of S and the schema they make; built once.
template <class S>
class Layout {
 public:
  static const Layout& get() {
    static const Layout layout;
    return layout;
  }
  template <class T>
  std::uint32_t index(Key<T> S::*key) const noexcept { return (keys_.*key).index(); }
  const std::shared_ptr<const Schema>& schema() const noexcept { return schema_; }

 private:
  Layout() : Layout(detail::LayoutBuilder()) {}
  explicit Layout(detail::LayoutBuilder&& builder) : keys_(), schema_(std::make_shared<const Schema>(std::move(builder.channels))) {}
  S keys_;                                            // constructed while the builder listens
  std::shared_ptr<const Schema> schema_;
};

/// What a task sees: one snapshot of all channels, or the argument of a Send. Borrowed during the node's call.
class StateView {
 public:
  StateView(const Schema& schema, std::span<const Value> values, const Json* extra = nullptr) : schema_(&schema), values_(values), extra_(extra) {}
  const Schema& schema() const noexcept { return *schema_; }
  /// null where nothing was written. Model states come as a fork of this task's own.
  const Value* find(std::uint32_t index) const noexcept { return index < values_.size() && values_[index] ? &values_[index] : nullptr; }
  const Value* find(std::string_view name) const noexcept { return find(schema_->find(name)); }
  /// Of a Send: what its argument holds beside channels, an object; null else.
  const Json* extra() const noexcept { return extra_; }
  /// All written channels but model states, and extra(), as an object. Errors: as Value::to_json.
  Result<Json> to_json() const;

 private:
  const Schema* schema_;
  std::span<const Value> values_;
  const Json* extra_;
};

/// The same, read by key.
template <class S>
class StateOf {
 public:
  explicit StateOf(const StateView& view) : view_(&view) {}
  /// T{} where nothing was written. Borrowed during the node's call.
  template <class T>
  const T& operator[](Key<T> S::*key) const {
    if (const Value* value = view_->find(Layout<S>::get().index(key))) return value->template as<T>();
    static const T nothing{};
    return nothing;
  }
  template <class T>
  bool has(Key<T> S::*key) const { return view_->find(Layout<S>::get().index(key)) != nullptr; }
  const StateView& view() const noexcept { return *view_; }

 private:
  const StateView* view_;
};

/// What a node writes.
template <class S>
class Update {
 public:
  Update() = default;
  template <class T>
  Update& set(Key<T> S::*key, std::type_identity_t<T> value) & { return put(key, std::move(value), false); }
  template <class T>
  Update&& set(Key<T> S::*key, std::type_identity_t<T> value) && { return std::move(put(key, std::move(value), false)); }
  /// Replaces the value whatever the key's reducer.
  template <class T>
  Update& replace(Key<T> S::*key, std::type_identity_t<T> value) & { return put(key, std::move(value), true); }
  template <class T>
  Update&& replace(Key<T> S::*key, std::type_identity_t<T> value) && { return std::move(put(key, std::move(value), true)); }

  std::vector<ChannelWrite> take() && { return std::move(writes_); }

 private:
  template <class T>
  Update& put(Key<T> S::*key, T value, bool whole) {
    writes_.push_back({Layout<S>::get().index(key), Value::of(std::move(value)), whole});
    return *this;
  }
  std::vector<ChannelWrite> writes_;
};

template <class S, class T>
Update<S> update(Key<T> S::*key, std::type_identity_t<T> value) {
  Update<S> made;
  made.set(key, std::move(value));
  return made;
}

}  // namespace corvid
