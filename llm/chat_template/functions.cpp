// Global functions, and printf-like formatting.
#include <cmath>
#include <cstdio>
#include <ctime>

#include "llm/chat_template/interpreter.hpp"
#include "llm/chat_template/text.hpp"

namespace corvid::llm::tmpl {

namespace {

Value range(Interpreter& in, const Arguments& args, std::uint64_t most) {
  std::int64_t parts[3] = {0, 0, 1};
  const std::size_t n = args.positional.size();
  if (n < 1 || n > 3 || !args.named.empty()) raise(ErrorCode::bad_input, "range() takes one to three integers", args.offset);
  for (std::size_t i = 0; i < n; ++i) {
    if (!args.positional[i].integer(parts[n == 1 ? 1 : i])) raise(ErrorCode::bad_input, "range() takes integers", args.offset);
  }
  const auto [start, stop, step] = parts;
  if (step == 0) raise(ErrorCode::bad_input, "the step of range() is zero", args.offset);
  const bool any = step > 0 ? start < stop : start > stop;
  const auto span = any ? (step > 0 ? static_cast<std::uint64_t>(stop) - static_cast<std::uint64_t>(start) : static_cast<std::uint64_t>(start) - static_cast<std::uint64_t>(stop)) : 0;
  const auto stride = step > 0 ? static_cast<std::uint64_t>(step) : std::uint64_t{0} - static_cast<std::uint64_t>(step);
  const std::uint64_t count = span ? (span - 1) / stride + 1 : 0;
  if (count > most) raise(ErrorCode::limit_exceeded, "range() of " + std::to_string(count) + " items; at most " + std::to_string(most) + " are allowed", args.offset);
  in.charge(count * sizeof(Value) + 64, args.offset);
  std::vector<Value> out;
  out.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) out.emplace_back(start + static_cast<std::int64_t>(i) * step);
  return make_list(std::move(out));
}

Value make_dict(Interpreter& in, const Arguments& args) {
  auto out = std::make_shared<Dict>();
  in.charge(256, args.offset);
  if (!args.positional.empty()) {
    if (const auto* dict = args.positional[0].dict()) {
      in.charge(dict->items.size() * 128, args.offset);
      *out = *dict;
    } else {
      for (const auto& pair : in.iterate(args.positional[0], args.offset)) {
        if (!pair.list() || pair.list()->items.size() != 2) raise(ErrorCode::bad_input, "dict() takes a list of pairs", args.offset);
        out->set(pair.list()->items[0], pair.list()->items[1]);
      }
    }
  }
  for (const auto& [key, value] : args.named) out->set(Value(key), value);
  return out;
}

std::string format_time(const std::string& format, std::time_t when, std::size_t offset) {
  if (format.size() > 1024) raise(ErrorCode::limit_exceeded, "a time format has over 1024 bytes", offset);
  std::tm parts{};
  gmtime_r(&when, &parts);
  std::string out;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') { out += format[i]; continue; }
    std::string one = "%";
    if (i + 1 < format.size() && format[i + 1] == '-') one += format[++i];
    if (i + 1 >= format.size() || std::string_view("aAbBcdDeFgGHhIjmMnpSTtuUVwWxXyYZ%").find(format[i + 1]) == std::string_view::npos) {
      raise(ErrorCode::unsupported, "the time format '" + format.substr(i, 2) + "' is not supported", offset);
    }
    one += format[++i];
    char buffer[128];
    out.append(buffer, std::strftime(buffer, sizeof buffer, one.c_str(), &parts));
  }
  return out;
}

}  // namespace

Value Interpreter::function(std::string_view name, const Arguments& args) {
  step(args.offset);
  if (name == "raise_exception") {
    const Value* message = args.get(0, "message");
    raise(ErrorCode::invalid_argument, "the template refuses: " + (message ? string_of(*message, args.offset) : std::string()), args.offset);
  }
  if (name == "strftime_now") {
    const Value* format = args.get(0, "format");
    if (!format || !format->text()) raise(ErrorCode::bad_input, "strftime_now() takes a format", args.offset);
    return text(format_time(*format->text(), now_ ? *now_ : std::time(nullptr), args.offset), args.offset);
  }
  if (name == "range") return range(*this, args, limits_.max_range);
  if (name == "dict") return make_dict(*this, args);
  auto out = std::make_shared<Callable>();
  charge(128, args.offset);
  if (name == "joiner") {
    out->kind = Callable::Kind::joiner;
    const Value* separator = args.get(0, "sep");
    out->self = separator ? *separator : Value(", ");
    return out;
  }
  raise(ErrorCode::unsupported, "the function " + std::string(name) + "() is not supported in chat templates", args.offset);
}

Text percent_format(Interpreter& in, const Text& format, const std::vector<Value>& values, std::size_t offset) {
  Text out;
  std::size_t next = 0;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') { out.add(format.part(i, i + 1)); continue; }
    if (++i >= format.size()) raise(ErrorCode::bad_input, "a format ends in %", offset);
    if (format[i] == '%') { out += '%'; continue; }
    std::string spec = "%";
    while (i < format.size() && std::string_view("0123456789.-+ ").find(format[i]) != std::string_view::npos && spec.size() < 8) spec += format[i++];
    if (i >= format.size() || next >= values.size()) raise(ErrorCode::bad_input, "a format asks for more values than given", offset);
    const Value& value = values[next++];
    const char kind = format[i];
    char buffer[512];
    double d = 0;
    std::int64_t n = 0;
    if (kind == 's' && spec == "%") {
      out.add(in.text_of(value, offset));
    } else if (kind == 'd' && value.number(d) && std::abs(d) < 9e18 && spec.size() < 5) {
      if (!value.integer(n)) n = static_cast<std::int64_t>(d);
      out.append(buffer, static_cast<std::size_t>(std::snprintf(buffer, sizeof buffer, (spec + "lld").c_str(), static_cast<long long>(n))));
    } else if ((kind == 'f' || kind == 'g' || kind == 'e') && value.number(d) && std::abs(d) < 1e100 && spec.size() < 6) {
      const int size = std::snprintf(buffer, sizeof buffer, (spec + kind).c_str(), d);
      if (size < 0 || static_cast<std::size_t>(size) >= sizeof buffer) raise(ErrorCode::limit_exceeded, "a formatted number is too long", offset);
      out.append(buffer, static_cast<std::size_t>(size));
    } else {
      raise(ErrorCode::unsupported, "the format " + spec + kind + " of a " + std::string(type_name(value)) + " is not supported", offset);
    }
    if (out.size() > in.max_text()) raise(ErrorCode::limit_exceeded, "a formatted text is too long", offset);
  }
  if (next < values.size()) raise(ErrorCode::bad_input, "a format uses fewer values than given", offset);
  return out;
}

}  // namespace corvid::llm::tmpl
