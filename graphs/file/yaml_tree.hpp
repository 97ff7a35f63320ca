// YAML or JSON text as a tree that knows where each part stands.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/base/result.hpp"

namespace corvid::detail {

inline constexpr std::size_t kMaxFileBytes = std::size_t{4} << 20;
inline constexpr std::size_t kMaxFileDepth = 64;
inline constexpr std::size_t kMaxKeyBytes = 1000;  // YAML reads longer ones in one of its styles only
inline constexpr std::size_t kMaxFileNodes = 200'000;  // aliases expanded: a small file can name one list again and again

struct FileMember;

struct FileNode {
  enum Kind : std::uint8_t { scalar, list, map };
  Kind kind = scalar;
  bool plain = false;                                  // a scalar without quotes
  std::size_t offset = 0;                              // of its first byte in the text
  std::string text;                                    // of scalars, as YAML reads it
  Json value;                                          // of scalars: typed by JSON's rules
  std::vector<FileNode> items;                         // of lists
  std::vector<FileMember> members;                     // of maps: keys are scalars

  const FileNode* find(std::string_view key) const noexcept;
  Json to_json() const;
  /// The part at a JSON pointer, or the nearest part above it that there is.
  const FileNode& at_pointer(std::string_view pointer) const;
};

struct FileMember {
  FileNode key, value;
};

/// One text: its name, its bytes, its tree.
class SourceFile {
 public:
  struct Place {
    std::size_t line = 1, column = 1;  // from 1; columns in characters
  };

  SourceFile(std::string name, std::string text);
  /// Errors: bad_input with the byte offset, limit_exceeded.
  Status parse();

  const std::string& name() const noexcept { return name_; }
  const FileNode& root() const noexcept { return root_; }
  Place place(std::size_t offset) const;
  /// Of a character within a scalar's text, as far as the way it is written lets it be found; else the scalar's start.
  Place place_in(const FileNode& scalar, std::size_t text_offset) const;

 private:
  std::string name_, text_;
  std::vector<std::size_t> lines_;  // where each begins
  FileNode root_;
};

}  // namespace corvid::detail
