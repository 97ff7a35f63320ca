// Values and bodies as bytes: CBOR, checked before it is parsed, so that damaged bytes cost neither stack nor memory.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/graphs/checkpoint.hpp"
#include "corvid/graphs/graph.hpp"
#include "corvid/graphs/value.hpp"

namespace corvid {

/// Nested arrays and maps in a stored value: the same limit as for JSON text.
inline constexpr std::size_t kMostCborDepth = 128;

Bytes encode_json(const Json& json);
/// Errors: bad_input (syntax, lengths past the end, depth), with the byte offset.
Result<Json> decode_json(std::span<const std::byte> bytes);

/// A value as it is stored: a tag byte, then CBOR or a model's state.
Result<Bytes> encode_value(const Value& value);
/// `notes` takes what restorers say was lost. Errors: bad_input, conflict (no restorer for the kind), those of the restorer.
Result<Value> decode_value(std::span<const std::byte> bytes, const ValueType& type, const std::map<std::string, Restorer>& restorers, std::vector<std::string>& notes);

/// Bytes inside a JSON document that goes to CBOR.
Json binary(Bytes bytes);
Result<Bytes> binary_at(const Json& object, const char* key);

std::int64_t unix_ms();

}  // namespace corvid
