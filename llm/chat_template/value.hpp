// Values of a template at run time: Python's, as far as templates see them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "corvid/base/result.hpp"
#include "corvid/text/tokenizer.hpp"

namespace corvid::llm::tmpl {

/// Thrown inside parser and interpreter, caught where ChatTemplate's functions return.
struct Failure {
  Error error;
};
[[noreturn]] void raise(ErrorCode code, std::string message, std::size_t offset);

struct List;
struct Dict;
struct Namespace;
struct Callable;
struct Loop;

struct Undefined { std::shared_ptr<const std::string> name; };
struct None {};
/// A text, and which of its bytes came from the inputs and not from the template itself (sorted, apart from each other): a marker in
/// those must stay text. What makes a text of others marks all of it where it cannot tell.
struct Text : std::string {
  Text() = default;
  explicit Text(std::string plain) : std::string(std::move(plain)) {}
  static Text of_input(std::string bytes);
  void add(std::string_view plain) { append(plain); }
  void add(const Text& other);
  /// Bytes [begin, end) with their marks.
  Text part(std::size_t begin, std::size_t end) const;
  std::vector<TextRange> input;
};
using Str = std::shared_ptr<const Text>;
using ListP = std::shared_ptr<List>;
using DictP = std::shared_ptr<Dict>;
using NamespaceP = std::shared_ptr<Namespace>;
using CallableP = std::shared_ptr<Callable>;
using LoopP = std::shared_ptr<Loop>;

struct Value : std::variant<Undefined, None, bool, std::int64_t, double, Str, ListP, DictP, NamespaceP, CallableP, LoopP> {
  using variant::variant;
  Value() : variant(Undefined{}) {}
  Value(Text text) : variant(std::make_shared<const Text>(std::move(text))) {}
  Value(std::string text) : Value(Text(std::move(text))) {}
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(const char* text) : Value(std::string(text)) {}

  template <class T> const T* as() const { return std::get_if<T>(static_cast<const variant*>(this)); }
  template <class T> bool is() const { return as<T>() != nullptr; }
  const Text* text() const { const Str* s = as<Str>(); return s ? s->get() : nullptr; }
  const List* list() const { const ListP* l = as<ListP>(); return l ? l->get() : nullptr; }
  const Dict* dict() const { const DictP* d = as<DictP>(); return d ? d->get() : nullptr; }
  /// A bool counts as 0 or 1, as in Python.
  bool integer(std::int64_t& out) const;
  bool number(double& out) const;
};

struct List {
  std::vector<Value> items;
  bool tuple = false;
  bool lazy = false;  // a generator in Python (map, select…): true, without length, text, JSON or items by number
};

/// Keeps insertion order. Keys that are strings are found by hash, others by search.
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  std::unordered_map<std::string, std::size_t> by_text;

  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(Value key, Value value);
};

struct Namespace { Dict attributes; };

struct Loop {
  std::vector<Value> items;
  std::size_t index = 0;
  std::size_t depth = 1;
  std::vector<Value> changed;  // what loop.changed() saw last
};

struct Macro;  // ast.hpp
struct Scope;  // interpreter.hpp

struct Callable {
  enum class Kind { function, method, macro, joiner } kind = Kind::function;
  std::string name;
  Value self;                    // method
  const Macro* macro = nullptr;  // macro; the program owns it
  Scope* closure = nullptr;      // macro; the interpreter keeps it
  std::size_t calls = 0;         // joiner
};

inline Value make_lazy(std::vector<Value> items) { return std::make_shared<List>(List{std::move(items), false, true}); }
inline Value make_list(std::vector<Value> items, bool tuple = false) { return std::make_shared<List>(List{std::move(items), tuple}); }

/// As strip() of text.hpp, with the marks of what is left.
Text stripped(const Text& text, std::string_view set, bool left, bool right);
/// Whether any text in it is marked, at any depth of lists and dicts.
bool has_input(const Value& value, std::size_t depth = 0);
/// `made` of values of which some were marked: its texts that have no marks get them whole; also those in a list.
Value as_input(Value made);

bool truthy(const Value& value);
bool equal(const Value& a, const Value& b, std::size_t depth = 0);
/// Python's name of the type, for messages.
std::string_view type_name(const Value& value);
/// str(value) and repr(value). Errors (Failure): limit_exceeded past `max_bytes` or 100 levels.
std::string to_text(const Value& value, std::size_t max_bytes);
std::string repr(const Value& value, std::size_t max_bytes);
std::string float_text(double value);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::string indent;           // one level's; used when `lines`
  bool lines = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
/// json.dumps. Errors (Failure): bad_input for what JSON cannot hold, limit_exceeded as above.
std::string to_json_text(const Value& value, const JsonStyle& style, std::size_t max_bytes, std::size_t offset);

}  // namespace corvid::llm::tmpl
