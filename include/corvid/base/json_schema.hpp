// JsonSchema: checks JSON values against a JSON Schema (draft 2020-12), without network and without regular expressions.
//
//   CORVID_TRY(auto schema, JsonSchema::compile({{"type", "object"}, {"required", {"approved"}}}));
//   CORVID_TRY_STATUS(schema.check(answer));          // "/approved: is missing"
//
// Known: type enum const; multipleOf minimum maximum exclusiveMinimum exclusiveMaximum; minLength maxLength; items prefixItems minItems
// maxItems uniqueItems contains minContains maxContains; properties additionalProperties required propertyNames minProperties
// maxProperties dependentRequired dependentSchemas; allOf anyOf oneOf not if then else; $ref within the document ("#", "#/…"), $defs.
// Annotations (title, description, default, examples, format, …) and keywords that the draft does not know are ignored. Keywords that it
// knows and this does not (pattern, patternProperties, unevaluated…, $dynamicRef, an $id below the root) are refused by compile(): a
// schema is never checked in part.
#pragma once

#include <cstddef>
#include <memory>

#include "corvid/base/json.hpp"
#include "corvid/base/result.hpp"

namespace corvid {

/// A compiled schema. Immutable; copies share; thread-safe.
class JsonSchema {
 public:
  static constexpr std::size_t kMaxNodes = 20'000;        ///< subschemas of one document
  static constexpr std::size_t kMaxDepth = 256;           ///< nested checks, $ref included: a schema that refers to itself ends
  static constexpr std::size_t kMaxSteps = 20'000'000;    ///< subschema × value pairs of one check

  /// Errors: bad_input with the JSON pointer of the place in the schema (key), unsupported naming the keyword, limit_exceeded.
  static Result<JsonSchema> compile(const Json& schema);

  /// Errors: bad_input with the JSON pointer of the value that does not fit (key; empty for the whole), limit_exceeded.
  Status check(const Json& value) const;

  const Json& json() const noexcept;   ///< the schema as given

 private:
  struct Impl;
  explicit JsonSchema(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace corvid
