// The reducers that graph files name. add_messages follows LangGraph's semantics (agents' anchors): replace by id, remove, append.
#include <algorithm>
#include <array>
#include <string>
#include <unordered_map>

#include "corvid/base/hash.hpp"
#include "corvid/graphs/key.hpp"
#include "corvid/graphs/schema.hpp"

namespace corvid {
namespace {

Json take_json(Value& value) { return value.take<Json>(); }

Reducer named(std::string name, bool delta, ReduceFunction reduce) {
  Reducer reducer;
  reducer.name = std::move(name);
  reducer.delta = delta;
  reducer.reduce = std::move(reduce);
  return reducer;
}

std::string message_id(const Json& message) {
  const auto at = message.find("id");
  return at != message.end() && at->is_string() ? at->get<std::string>() : std::string();
}

// Joins `more` into `list`. An id that nobody gave is derived from the message and its place, so that a repeated run gives the same.
Status join_messages(std::vector<Json>& list, std::vector<Json> more) {
  std::unordered_map<std::string, std::size_t> places;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (auto id = message_id(list[i]); !id.empty()) places.emplace(std::move(id), i);
  }
  std::vector<bool> removed(list.size(), false);
  for (Json& message : more) {
    if (!message.is_object()) return fail(Error::bad_input("add_messages takes objects such as {\"role\", \"content\"}, not a " + std::string(message.type_name())));
    std::string id = message_id(message);
    const auto role = message.find("role");
    if (role != message.end() && *role == "remove") {
      if (id == "__remove_all__") {
        std::fill(removed.begin(), removed.end(), true);
        places.clear();
        continue;
      }
      const auto at = places.find(id);
      if (at == places.end()) return fail(Error::bad_input("add_messages cannot remove the message \"" + id + "\": there is none with this id"));
      removed[at->second] = true;                    // its place is kept: the id may come again
      continue;
    }
    if (id.empty()) {
      const auto digest = sha256(std::to_string(list.size()) + " " + dump_json(message));
      id = "m-" + to_hex(std::span(digest).first(8));
      message["id"] = id;
    }
    if (const auto at = places.find(id); at != places.end()) {
      list[at->second] = std::move(message);
      removed[at->second] = false;
    } else {
      places.emplace(std::move(id), list.size());
      list.push_back(std::move(message));
      removed.push_back(false);
    }
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (removed[i]) continue;
    if (kept != i) list[kept] = std::move(list[i]);
    ++kept;
  }
  list.resize(kept);
  return {};
}

std::vector<Json> as_list(Json json) {
  if (json.is_array()) return std::move(json.get_ref<Json::array_t&>());
  return {std::move(json)};
}

Result<Value> reduce_append(Value current, std::span<Value> writes) {
  Json list = current ? take_json(current) : Json::array();
  if (!list.is_array()) return fail(Error::bad_input("append needs a list, the state holds a " + std::string(list.type_name())));
  auto& items = list.get_ref<Json::array_t&>();
  for (Value& write : writes) {
    for (Json& item : as_list(take_json(write))) items.push_back(std::move(item));
  }
  return Value::of(std::move(list));
}

Result<Value> reduce_messages(Value current, std::span<Value> writes) {
  Json state = current ? take_json(current) : Json::array();
  if (!state.is_array()) return fail(Error::bad_input("add_messages needs a list, the state holds a " + std::string(state.type_name())));
  std::vector<Json> list = as_list(std::move(state));
  for (Value& write : writes) CORVID_TRY_STATUS(join_messages(list, as_list(take_json(write))));
  return Value::of(Json(std::move(list)));
}

Result<Value> reduce_add(Value current, std::span<Value> writes) {
  Json sum = current ? take_json(current) : Json();
  for (Value& write : writes) {
    Json more = take_json(write);
    if (sum.is_null()) sum = std::move(more);
    else if (sum.is_number_integer() && more.is_number_integer()) {
      std::int64_t total = 0;
      if (__builtin_add_overflow(sum.get<std::int64_t>(), more.get<std::int64_t>(), &total)) return fail(Error::limit_exceeded("add overflows 64 bits"));
      sum = total;
    } else if (sum.is_number() && more.is_number()) sum = sum.get<double>() + more.get<double>();
    else if (sum.is_string() && more.is_string()) sum.get_ref<std::string&>() += more.get_ref<const std::string&>();
    else return fail(Error::bad_input("add joins two numbers or two strings, not a " + std::string(sum.type_name()) + " and a " + more.type_name()));
  }
  return Value::of(std::move(sum));
}

Result<Value> reduce_union(Value current, std::span<Value> writes) {
  Json list = current ? take_json(current) : Json::array();
  if (list.is_object()) {
    for (Value& write : writes) {
      Json more = take_json(write);
      if (!more.is_object()) return fail(Error::bad_input("union of an object takes objects"));
      list.update(more);
    }
    return Value::of(std::move(list));
  }
  if (!list.is_array()) return fail(Error::bad_input("union needs a list or an object, the state holds a " + std::string(list.type_name())));
  for (Value& write : writes) {
    Json more = take_json(write);
    if (more.is_object() && list.empty()) {
      list = std::move(more);
      continue;
    }
    if (list.is_object()) {
      if (!more.is_object()) return fail(Error::bad_input("union of an object takes objects"));
      list.update(more);
      continue;
    }
    for (Json& item : as_list(std::move(more))) {
      if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(std::move(item));
    }
  }
  return Value::of(std::move(list));
}

// JSON channels convert on writing; this checks that what is written has the declared form.
template <auto Check>
Result<Value> checked(const Json& json) {
  if (const char* problem = Check(json)) return fail(detail::json_mismatch(problem, json.type_name()));
  return Value::of(json);
}
constexpr auto is_integer = [](const Json& j) -> const char* { return j.is_number_integer() ? nullptr : "integer"; };
constexpr auto is_number = [](const Json& j) -> const char* { return j.is_number() ? nullptr : "number"; };
constexpr auto is_boolean = [](const Json& j) -> const char* { return j.is_boolean() ? nullptr : "boolean"; };
constexpr auto is_string = [](const Json& j) -> const char* { return j.is_string() ? nullptr : "string"; };
constexpr auto is_object = [](const Json& j) -> const char* { return j.is_object() ? nullptr : "object"; };
constexpr auto is_anything = [](const Json&) -> const char* { return nullptr; };

}  // namespace

namespace detail {

Reducer add_messages_list() {
  return named("add_messages", true, [](Value current, std::span<Value> writes) -> Result<Value> {
    auto list = current ? current.take<std::vector<Json>>() : std::vector<Json>();
    for (Value& write : writes) CORVID_TRY_STATUS(join_messages(list, write.take<std::vector<Json>>()));
    return Value::of(std::move(list));
  });
}

}  // namespace detail

Reducer append_json() { return named("append", true, reduce_append); }
Reducer add_messages_json() { return named("add_messages", true, reduce_messages); }

Result<Reducer> json_reducer(std::string_view name) {
  if (name == "overwrite") return Reducer{};
  if (name == "append") return append_json();
  if (name == "add_messages") return add_messages_json();
  if (name == "add") return named("add", false, reduce_add);
  if (name == "union") return named("union", false, reduce_union);
  return fail(Error::not_found("no reducer \"" + std::string(name) + "\"; there are overwrite, append, add_messages, add and union"));
}

Result<ChannelSpec> json_channel(std::string name, std::string_view type, Reducer reducer) {
  using F = detail::ValueFunctions<Json>;
  const auto make = [](std::string_view label, Result<Value> (*from)(const Json&)) {
    ValueType made = detail::kValueType<Json>;
    made.name = label;
    made.from_json = from;
    return made;
  };
  // A list's writes may be single elements where the reducer takes them, so lists are not checked here but by the reducer.
  static const std::array<ValueType, 7> types{make("integer", &checked<is_integer>), make("number", &checked<is_number>),
                                              make("boolean", &checked<is_boolean>), make("string", &checked<is_string>),
                                              make("list", &checked<is_anything>),   make("object", &checked<is_object>),
                                              make("json", &F::from_json)};
  for (const auto& known : types) {
    if (known.name != type) continue;
    ChannelSpec spec;
    spec.name = std::move(name);
    spec.type = &known;
    spec.reducer = std::move(reducer);
    return spec;
  }
  return fail(Error::not_found("no type \"" + std::string(type) + "\"; there are integer, number, boolean, string, list, object and json").at_key(name));
}

}  // namespace corvid
