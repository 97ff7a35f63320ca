// Value: one piece of state, of any copyable C++ type that nlohmann_json converts, or a handle on a model's state.
//
//   Value v = Value::of(42);
//   int n = v.as<int>();                        // another type: std::logic_error, a contract violation
//   CORVID_TRY(Json j, v.to_json());
//
// Values are immutable and share on copy. Any thread may read one.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/base/model_state.hpp"
#include "corvid/base/result.hpp"

namespace corvid {

class Value;

/// What the runtime must know of a C++ type. One constant object a type.
struct ValueType {
  std::string_view name;                                       ///< as in graph files: integer, number, boolean, string, list, object, json, model_state
  Result<Json> (*to_json)(const void* value) = nullptr;
  Result<Value> (*from_json)(const Json& json) = nullptr;      ///< errors: bad_input
  Result<Value> (*fork)(const void* value) = nullptr;          ///< model states only
  Result<std::shared_ptr<ModelState>> (*handle)(const void* value) = nullptr;   ///< model states only
  Result<Value> (*wrap)(std::shared_ptr<ModelState> state) = nullptr;           ///< model states only; conflict where it is of another class
  Value (*empty)() = nullptr;                                  ///< T{}
};

namespace detail {

template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};
template <class T>
struct is_model_state : std::false_type {};
template <class T>
struct is_model_state<std::shared_ptr<T>> : std::is_base_of<ModelState, T> {};

template <class T>
constexpr std::string_view value_type_name() {
  if constexpr (std::is_same_v<T, Json>) return "json";
  else if constexpr (std::is_same_v<T, bool>) return "boolean";
  else if constexpr (std::is_integral_v<T>) return "integer";
  else if constexpr (std::is_floating_point_v<T>) return "number";
  else if constexpr (std::is_same_v<T, std::string>) return "string";
  else if constexpr (is_vector<T>::value) return "list";
  else if constexpr (is_model_state<T>::value) return "model_state";
  else return "object";
}

}  // namespace detail

class Value {
 public:
  Value() = default;                                           ///< absent
  template <class T>
  static Value of(T value);
  explicit operator bool() const noexcept { return data_ != nullptr; }
  const ValueType* type() const noexcept { return type_; }
  const void* data() const noexcept { return data_.get(); }

  template <class T>
  const T* get_if() const noexcept;                            ///< null where absent or of another type
  template <class T>
  const T& as() const;                                         ///< throws std::logic_error where get_if is null
  /// Moves out where this is the only holder, copies else; leaves this absent.
  template <class T>
  T take();

  /// null where absent. Errors: unsupported for a model's state, bad_input where the type cannot be written as JSON.
  Result<Json> to_json() const { return data_ ? type_->to_json(data_.get()) : Result<Json>(Json(nullptr)); }

 private:
  const ValueType* type_ = nullptr;
  std::shared_ptr<const void> data_;
};

/// The description of T.
template <class T>
const ValueType& value_type();

// ---- implementation

template <class T>
Value Value::of(T value) {
  Value v;
  v.type_ = &value_type<T>();
  v.data_ = std::make_shared<T>(std::move(value));             // not const T: take() moves out of it
  return v;
}

template <class T>
const T* Value::get_if() const noexcept {
  return type_ == &value_type<T>() ? static_cast<const T*>(data_.get()) : nullptr;
}

template <class T>
const T& Value::as() const {
  if (const T* value = get_if<T>()) return *value;
  throw std::logic_error("a value is read as another type than it was written with");
}

template <class T>
T Value::take() {
  const T& value = as<T>();
  // The object was made by make_shared<T>, not const; without other holders nobody sees it change.
  T out = data_.use_count() == 1 ? std::move(const_cast<T&>(value)) : value;
  *this = Value();
  return out;
}

namespace detail {

Error json_mismatch(std::string_view wanted, const char* why);   // bad_input
Error not_json(const char* why);

template <class T>
struct ValueFunctions {
  static Result<Json> to_json(const void* value) {
    if constexpr (is_model_state<T>::value) {
      return fail(Error::unsupported("a model's state has no JSON form; read the tokens or text that belong to it"));
    } else {
      try {
        return Json(*static_cast<const T*>(value));
      } catch (const Json::exception& e) {
        return fail(not_json(e.what()));
      }
    }
  }
  static Result<Value> from_json(const Json& json) {
    if constexpr (is_model_state<T>::value) {
      return fail(json_mismatch("model_state", "it can only be restored from a checkpoint"));
    } else if constexpr (std::is_same_v<T, Json>) {
      return Value::of(json);
    } else {
      try {
        // nlohmann_json would read 1.5 as the integer 1 and true as 1.
        if constexpr (std::is_same_v<T, bool>) {
          if (!json.is_boolean()) return fail(json_mismatch("boolean", json.type_name()));
        } else if constexpr (std::is_integral_v<T>) {
          if (!json.is_number_integer()) return fail(json_mismatch("integer", json.type_name()));
        } else if constexpr (std::is_floating_point_v<T>) {
          if (!json.is_number()) return fail(json_mismatch("number", json.type_name()));
        }
        return Value::of(json.get<T>());
      } catch (const Json::exception& e) {
        return fail(json_mismatch(value_type_name<T>(), e.what()));
      }
    }
  }
  static Result<Value> fork(const void* value) {
    if constexpr (is_model_state<T>::value) {
      const T& state = *static_cast<const T*>(value);
      if (!state) return Value::of(T{});
      CORVID_TRY(auto forked, state->fork_state());
      return wrap(std::move(forked));
    } else {
      (void)value;
      return fail(Error::internal("only a model's state forks"));
    }
  }
  static Result<std::shared_ptr<ModelState>> handle(const void* value) {
    if constexpr (is_model_state<T>::value) return std::shared_ptr<ModelState>(*static_cast<const T*>(value));
    else {
      (void)value;
      return fail(Error::internal("not a model's state"));
    }
  }
  static Result<Value> wrap(std::shared_ptr<ModelState> state) {
    if constexpr (is_model_state<T>::value) {
      auto typed = std::dynamic_pointer_cast<typename T::element_type>(state);
      if (state && !typed) return fail(Error::conflict("a model's state of another class than the key's"));
      return Value::of(T(std::move(typed)));
    } else {
      (void)state;
      return fail(Error::internal("not a model's state"));
    }
  }
  static Value empty() { return Value::of(T{}); }
};

template <class T>
inline constexpr ValueType kValueType{
    value_type_name<T>(), &ValueFunctions<T>::to_json, &ValueFunctions<T>::from_json,
    is_model_state<T>::value ? &ValueFunctions<T>::fork : nullptr, is_model_state<T>::value ? &ValueFunctions<T>::handle : nullptr,
    is_model_state<T>::value ? &ValueFunctions<T>::wrap : nullptr, &ValueFunctions<T>::empty};

}  // namespace detail

template <class T>
const ValueType& value_type() {
  static_assert(std::is_same_v<T, std::decay_t<T>>, "state holds values, not references or arrays");
  return detail::kValueType<T>;
}

}  // namespace corvid
