#include "corvid/graphs/state_graph.hpp"
#include "support/catch.hpp"

using namespace corvid;

namespace {

struct Review {
  Key<std::string> draft{"draft"};
  Key<std::vector<std::string>> notes{"notes", append};
  Key<int> rounds{"rounds", [](int a, int b) { return a + b; }};
};

Value reduce(const Reducer& reducer, Value current, std::vector<Value> writes) { return *reducer.reduce(std::move(current), writes); }

}  // namespace

TEST_CASE("keys of a struct become channels in their order") {
  const auto& schema = *Layout<Review>::get().schema();
  REQUIRE(schema.size() == 3);
  CHECK(schema.at(0).name == "draft");
  CHECK(schema.at(1).reducer.name == "append");
  CHECK(schema.at(1).reducer.delta);
  CHECK(schema.find("rounds") == 2);
  CHECK(schema.find("absent") == Schema::npos);
  auto writes = update(&Review::notes, {"a"}).set(&Review::rounds, 2);
  auto list = std::move(writes).take();
  REQUIRE(list.size() == 2);
  CHECK(list[0].channel == 1);
  CHECK(list[1].value.as<int>() == 2);
  CHECK_THROWS_AS(list[1].value.as<std::string>(), std::logic_error);
}

TEST_CASE("a value is taken without a copy only by its last holder") {
  Value a = Value::of(std::string(100, 'x'));
  Value b = a;
  CHECK(a.take<std::string>() == std::string(100, 'x'));
  CHECK(b.as<std::string>() == std::string(100, 'x'));
}

TEST_CASE("typed values refuse JSON of another type") {
  CHECK(value_type<int>().from_json(Json(3))->as<int>() == 3);
  CHECK(value_type<int>().from_json(Json(1.5)).error().code() == ErrorCode::bad_input);
  CHECK(value_type<int>().from_json(Json(true)).error().code() == ErrorCode::bad_input);
  CHECK(value_type<bool>().from_json(Json(1)).error().code() == ErrorCode::bad_input);
}

TEST_CASE("reducers of graph files") {
  auto messages = add_messages_json();
  Value list = reduce(messages, {}, {Value::of(Json{{{"role", "user"}, {"content", "hi"}, {"id", "1"}}}), Value::of(Json{{"role", "user"}, {"content", "x"}})});
  REQUIRE(list.as<Json>().size() == 2);
  CHECK(list.as<Json>()[1]["id"].is_string());
  list = reduce(messages, list, {Value::of(Json{{{"role", "user"}, {"content", "ho"}, {"id", "1"}}})});
  CHECK(list.as<Json>()[0]["content"] == "ho");
  list = reduce(messages, list, {Value::of(Json{{{"role", "remove"}, {"id", "1"}}})});
  CHECK(list.as<Json>().size() == 1);
  std::vector<Value> unknown{Value::of(Json{{{"role", "remove"}, {"id", "9"}}})};
  CHECK(messages.reduce(list, unknown).error().code() == ErrorCode::bad_input);
  list = reduce(messages, list, {Value::of(Json{{{"role", "remove"}, {"id", "__remove_all__"}}, {{"role", "user"}, {"content", "new"}, {"id", "7"}}})});
  REQUIRE(list.as<Json>().size() == 1);
  CHECK(list.as<Json>()[0]["id"] == "7");

  CHECK(reduce(*json_reducer("add"), Value::of(Json(2)), {Value::of(Json(3)), Value::of(Json(4))}).as<Json>() == 9);
  CHECK(reduce(*json_reducer("union"), Value::of(Json{1, 2}), {Value::of(Json{2, 3})}).as<Json>() == Json{1, 2, 3});
  CHECK(reduce(append_json(), {}, {Value::of(Json{1, 2}), Value::of(Json(3))}).as<Json>() == Json{1, 2, 3});
  CHECK(json_reducer("sum").error().code() == ErrorCode::not_found);
  CHECK(json_channel("x", "float", {}).error().code() == ErrorCode::not_found);
}
