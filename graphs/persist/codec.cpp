#include "graphs/persist/codec.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <string>
#include <utility>

#include "graphs/persist/cbor_writer.hpp"

namespace corvid {
namespace {

constexpr std::byte kPlain{'J'}, kModelState{'M'};

// Walks CBOR (RFC 8949) without building anything: every length lies inside the input and nothing nests deeper than the limit.
// Only what nlohmann_json writes is let through: no tags, no indefinite lengths.
Status check_cbor(std::span<const std::byte> bytes) {
  // The head of what encrypted_saver.cpp writes; as CBOR it would be four bytes long.
  constexpr std::byte kEncrypted[] = {std::byte{'C'}, std::byte{'V'}, std::byte{'E'}};
  if (bytes.size() > 4 && std::equal(std::begin(kEncrypted), std::end(kEncrypted), bytes.begin())) {
    return fail(Error::bad_input("what is stored here is encrypted; give the key that it was written with"));
  }
  std::size_t at = 0;
  std::vector<std::uint64_t> open{1};                          // items left at each level
  const auto bad = [&](const char* what) { return fail(Error::bad_input(std::string("damaged stored value: ") + what).at_offset(at)); };
  while (!open.empty()) {
    if (open.back() == 0) {
      open.pop_back();
      continue;
    }
    --open.back();
    if (at >= bytes.size()) return bad("it ends early");
    const auto first = std::to_integer<unsigned>(bytes[at]);
    const unsigned major = first >> 5, minor = first & 31;
    ++at;
    std::uint64_t argument = minor;
    if (minor >= 24) {
      if (minor > 27) return bad("an item of a kind that is never written");
      const std::size_t width = std::size_t{1} << (minor - 24);
      if (bytes.size() - at < width) return bad("it ends early");
      argument = 0;
      for (std::size_t i = 0; i < width; ++i) argument = argument << 8 | std::to_integer<std::uint64_t>(bytes[at + i]);
      at += width;
    }
    switch (major) {
      case 0:
      case 1: break;
      case 2:
      case 3:
        if (argument > bytes.size() - at) return bad("a string is longer than what is left");
        at += argument;
        break;
      case 4:
      case 5:
        if (argument > bytes.size() - at) return bad("a list is longer than what is left");
        if (open.size() > kMostCborDepth) return bad("it nests too deeply");
        open.push_back(major == 5 ? argument * 2 : argument);
        break;
      case 6: return bad("a tagged item, which is never written");
      default:
        if (minor != 20 && minor != 21 && minor != 22 && (minor < 25 || minor > 27)) return bad("a simple value that is never written");
    }
  }
  if (at != bytes.size()) return bad("bytes are left over");
  return {};
}

}  // namespace

Bytes encode_json(const Json& json) {
  CborWriter out;
  out.json(json);
  return std::move(out).take();
}

Result<Json> decode_json(std::span<const std::byte> bytes) {
  CORVID_TRY_STATUS(check_cbor(bytes));
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  Json json = Json::from_cbor(data, data + bytes.size(), true, false);
  if (json.is_discarded()) return fail(Error::bad_input("damaged stored value: it is no CBOR that Corvid writes"));
  return json;
}

Result<Bytes> encode_value(const Value& value) {
  if (value.type()->handle) {
    CORVID_TRY(const auto state, value.type()->handle(value.data()));
    Json document = {{"kind", nullptr}, {"state", nullptr}};
    if (state) {
      CORVID_TRY(auto saved, state->save_state());
      document["kind"] = std::string(state->state_kind());
      document["state"] = binary(std::move(saved));
    }
    CborWriter out;
    out.tag(kModelState).json(document);
    return std::move(out).take();
  }
  CORVID_TRY(const Json json, value.to_json());
  CborWriter out;
  out.tag(kPlain).json(json);
  return std::move(out).take();
}

Result<Value> decode_value(std::span<const std::byte> bytes, const ValueType& type, const std::map<std::string, Restorer>& restorers, std::vector<std::string>& notes) {
  if (bytes.empty()) return fail(Error::bad_input("damaged stored value: it is empty"));
  const std::byte tag = bytes.front();
  CORVID_TRY(Json json, decode_json(bytes.subspan(1)));
  if (tag == kPlain) {
    if (type.handle) return fail(Error::bad_input("stored data where a model's state was expected"));
    return type.from_json(json);
  }
  if (tag != kModelState) return fail(Error::bad_input("damaged stored value: unknown form"));
  if (!type.handle) return fail(Error::bad_input("a stored model's state where data was expected"));
  if (!json.is_object() || !json.contains("kind") || !json.contains("state")) return fail(Error::bad_input("damaged stored value: no model's state in it"));
  if (json["kind"].is_null()) return type.wrap(nullptr);
  if (!json["kind"].is_string() || !json["state"].is_binary()) return fail(Error::bad_input("damaged stored value: no model's state in it"));
  const auto kind = json["kind"].get<std::string>();
  const auto restorer = restorers.find(kind);
  if (restorer == restorers.end()) {
    return fail(Error::conflict("the checkpoint holds a model's state of kind \"" + kind + "\" and no restorer for it is given").at_key(kind));
  }
  const auto& saved = json["state"].get_binary();
  CORVID_TRY(auto restored, restorer->second(std::as_bytes(std::span(saved.data(), saved.size()))));
  if (!restored.note.empty()) notes.push_back(std::move(restored.note));
  return type.wrap(std::move(restored.state));
}

Json binary(Bytes bytes) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  return Json::binary(std::vector<std::uint8_t>(data, data + bytes.size()));
}

Result<Bytes> binary_at(const Json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end() || !at->is_binary()) return fail(Error::bad_input(std::string("damaged stored value: no bytes under \"") + key + "\""));
  const auto& data = at->get_binary();
  const auto* first = reinterpret_cast<const std::byte*>(data.data());
  return Bytes(first, first + data.size());
}

std::int64_t unix_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace corvid
