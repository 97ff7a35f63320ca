#include "graphs/persist/postgres_values.hpp"

#include <charconv>
#include <cstring>

namespace corvid::postgres {

namespace {

// From the server's pg_type.dat; libpq has no header for them.
constexpr Oid kBytea = 17, kInt8 = 20, kText = 25, kByteaArray = 1001, kTextArray = 1009, kInt8Array = 1016;
// The server's limit on one message (MaxAllocSize).
constexpr std::size_t kMaxMessage = (std::size_t{1} << 30) - 1024;

template <class T>
void append_big_endian(std::string& out, T value) {
  for (int shift = static_cast<int>(sizeof(T)) * 8 - 8; shift >= 0; shift -= 8) {
    out += static_cast<char>(static_cast<std::make_unsigned_t<T>>(value) >> shift & 0xff);
  }
}

template <class T>
T read_big_endian(const char* at) {
  std::make_unsigned_t<T> value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value = static_cast<decltype(value)>(value << 8 | static_cast<unsigned char>(at[i]));
  return static_cast<T>(value);
}

/// The elements of a one-dimensional array; a NULL reads as an empty one. What does not fit its length is left out.
std::vector<std::string_view> elements(std::string_view array) {
  std::vector<std::string_view> out;
  if (array.size() < 12 || read_big_endian<std::int32_t>(array.data()) != 1 || array.size() < 20) return out;
  const auto count = read_big_endian<std::int32_t>(array.data() + 12);
  array.remove_prefix(20);
  for (std::int32_t i = 0; i < count && array.size() >= 4; ++i) {
    const auto size = read_big_endian<std::int32_t>(array.data());
    array.remove_prefix(4);
    const auto taken = size < 0 ? 0 : static_cast<std::size_t>(size);
    if (taken > array.size()) break;
    out.push_back(array.substr(0, taken));
    array.remove_prefix(taken);
  }
  return out;
}

}  // namespace

void Params::add(Oid type, const void* data, std::size_t size) {
  types_.push_back(type);
  values_.push_back(data ? static_cast<const char*>(data) : "");  // a null pointer would be NULL
  lengths_.push_back(static_cast<int>(std::min(size, kMaxMessage)));
  total_ += size;
}

Params& Params::text(std::string_view value) {
  nul_ = nul_ || value.find('\0') != std::string_view::npos;
  add(kText, value.data(), value.size());
  return *this;
}

Params& Params::integer(std::int64_t value) {
  auto& kept = owned_.emplace_back();
  append_big_endian(kept, value);
  add(kInt8, kept.data(), kept.size());
  return *this;
}

Params& Params::bytes(std::span<const std::byte> value) {
  add(kBytea, value.data(), value.size());
  return *this;
}

template <class F>
void Params::array(Oid type, Oid element, std::size_t count, F&& append) {
  auto& out = owned_.emplace_back();
  append_big_endian<std::int32_t>(out, count > 0 ? 1 : 0);  // dimensions
  append_big_endian<std::int32_t>(out, 1);                  // may hold NULLs
  append_big_endian<std::uint32_t>(out, element);
  if (count > 0) {
    append_big_endian(out, static_cast<std::int32_t>(count));
    append_big_endian<std::int32_t>(out, 1);  // the first index
  }
  for (std::size_t i = 0; i < count; ++i) append(out, i);
  add(type, out.data(), out.size());
}

Params& Params::texts(const std::vector<std::string_view>& values) {
  array(kTextArray, kText, values.size(), [&](std::string& out, std::size_t i) {
    nul_ = nul_ || values[i].find('\0') != std::string_view::npos;
    append_big_endian(out, static_cast<std::int32_t>(values[i].size()));
    out += values[i];
  });
  return *this;
}

Params& Params::integers(const std::vector<std::int64_t>& values) {
  array(kInt8Array, kInt8, values.size(), [&](std::string& out, std::size_t i) {
    append_big_endian<std::int32_t>(out, 8);
    append_big_endian(out, values[i]);
  });
  return *this;
}

Params& Params::byte_strings(const std::vector<std::optional<std::span<const std::byte>>>& values) {
  std::size_t sum = 0;
  for (const auto& value : values) sum += value ? value->size() : 0;
  if (sum > kMaxMessage) {
    add(kByteaArray, nullptr, sum);  // refused by check(); not worth a copy
    return *this;
  }
  array(kByteaArray, kBytea, values.size(), [&](std::string& out, std::size_t i) {
    append_big_endian(out, values[i] ? static_cast<std::int32_t>(values[i]->size()) : -1);
    if (values[i]) out.append(reinterpret_cast<const char*>(values[i]->data()), values[i]->size());
  });
  return *this;
}

Status Params::check() const {
  if (nul_) return fail(Error::invalid_argument("a name or id holds a NUL byte, which PostgreSQL cannot store in text"));
  if (total_ > kMaxMessage) {
    return fail(Error::limit_exceeded("a commit of " + std::to_string(total_) + " bytes: PostgreSQL takes less than 1 GiB at once"));
  }
  return {};
}

std::int64_t Rows::affected() const {
  std::int64_t count = 0;
  if (result_) {
    const std::string_view text = PQcmdTuples(result_.get());
    std::from_chars(text.data(), text.data() + text.size(), count);
  }
  return count;
}

std::int64_t Rows::integer(int row, int column) const {
  const char* at = PQgetvalue(result_.get(), row, column);
  switch (PQgetlength(result_.get(), row, column)) {
    case 1:
      return *at;
    case 2:
      return read_big_endian<std::int16_t>(at);
    case 4:
      return read_big_endian<std::int32_t>(at);
    case 8:
      return read_big_endian<std::int64_t>(at);
    default:
      return 0;
  }
}

std::string_view Rows::text(int row, int column) const {
  return {PQgetvalue(result_.get(), row, column), static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
}

Bytes Rows::bytes(int row, int column) const {
  const auto all = std::as_bytes(std::span(text(row, column)));
  return {all.begin(), all.end()};
}

std::vector<std::string> Rows::texts(int row, int column) const {
  std::vector<std::string> out;
  for (const auto element : elements(text(row, column))) out.emplace_back(element);
  return out;
}

std::vector<std::int64_t> Rows::integers(int row, int column) const {
  std::vector<std::int64_t> out;
  for (const auto element : elements(text(row, column)))
    out.push_back(element.size() == 8 ? read_big_endian<std::int64_t>(element.data()) : 0);
  return out;
}

}  // namespace corvid::postgres
