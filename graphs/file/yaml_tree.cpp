#include "graphs/file/yaml_tree.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <new>
#include <optional>
#include <set>
#include <sstream>

#include "graphs/file/suggest.hpp"

namespace corvid::detail {
namespace {

bool is_json_number(std::string_view text) {
  std::size_t at = 0;
  const auto digits = [&] {
    const auto start = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    return at - start;
  };
  if (at < text.size() && text[at] == '-') ++at;
  const bool zero = at < text.size() && text[at] == '0';
  const auto whole = digits();
  if (whole == 0 || (zero && whole > 1)) return false;
  if (at < text.size() && text[at] == '.' && (++at, digits() == 0)) return false;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    if (++at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (digits() == 0) return false;
  }
  return at == text.size();
}

// YAML 1.2's JSON schema: yes, no, on and off are texts, and so is 0x10.
Json typed(const std::string& text) {
  if (text == "true") return true;
  if (text == "false") return false;
  if (text == "null" || text == "~" || text.empty()) return nullptr;
  if (text.size() < 400 && is_json_number(text)) {
    if (auto number = parse_json(text)) return std::move(*number);
  }
  return text;
}

struct Stop {  // thrown through the parser, caught in build_tree
  Error error;
};

class Builder : public YAML::EventHandler {
 public:
  explicit Builder(FileNode& root) : root_(root) {}
  bool any() const noexcept { return documents_ > 0 && done_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) stop(mark, "a file holds one document; remove what follows ---");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    FileNode node = make(mark, FileNode::scalar);
    node.plain = true;
    add(std::move(node), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto at = anchors_.find(anchor);
    if (at == anchors_.end()) stop(mark, "an alias (*) cannot stand within what it names");
    count(mark, at->second.second);
    if (open_.size() + at->second.first.depth > kMaxFileDepth) too_deep(mark);
    add(FileNode(at->second.first.node), 0);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& text) override {
    FileNode node = make(mark, FileNode::scalar);
    node.text = text;
    node.plain = tag == "?";
    if (node.plain)
      node.value = typed(text);
    else if (tag == "!" || tag == "tag:yaml.org,2002:str")
      node.value = text;
    else
      stop(mark, "tags such as " + tag.substr(0, 40) + " are not read; write the value without one");
    add(std::move(node), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, FileNode::list);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, FileNode::map);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    FileNode node;
    YAML::anchor_t anchor = 0;
    std::optional<FileNode> key;
    std::set<std::string, std::less<>> keys;
    std::size_t before = 0, depth = 1;  // nodes counted before it; levels within it
  };
  struct Anchored {
    FileNode node;
    std::size_t depth;
  };

  [[noreturn]] static void stop(const YAML::Mark& mark, std::string message) {
    throw Stop{Error::bad_input(std::move(message)).at_offset(static_cast<std::uint64_t>(std::max(mark.pos, 0)))};
  }
  [[noreturn]] static void too_deep(const YAML::Mark& mark) {
    throw Stop{Error::limit_exceeded("nested deeper than " + std::to_string(kMaxFileDepth) + " levels")
                   .at_offset(static_cast<std::uint64_t>(std::max(mark.pos, 0)))};
  }
  void count(const YAML::Mark& mark, std::size_t nodes) {
    count_ += nodes;
    if (count_ > kMaxFileNodes) {
      throw Stop{Error::limit_exceeded("more than " + std::to_string(kMaxFileNodes) + " values, with aliases written out")
                     .at_offset(static_cast<std::uint64_t>(std::max(mark.pos, 0)))};
    }
  }
  FileNode make(const YAML::Mark& mark, FileNode::Kind kind) {
    count(mark, 1);
    FileNode node;
    node.kind = kind;
    node.offset = static_cast<std::size_t>(std::max(mark.pos, 0));
    return node;
  }
  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, FileNode::Kind kind) {
    if (tag != "?" && tag != "!") stop(mark, "tags such as " + tag.substr(0, 40) + " are not read; write the value without one");
    if (open_.size() >= kMaxFileDepth) too_deep(mark);
    Open opened;
    opened.before = count_;
    opened.node = make(mark, kind);
    opened.anchor = anchor;
    open_.push_back(std::move(opened));
  }
  void close() {
    Open closed = std::move(open_.back());
    open_.pop_back();
    if (!open_.empty()) open_.back().depth = std::max(open_.back().depth, closed.depth + 1);
    const auto nodes = count_ - closed.before;
    put(std::move(closed.node), closed.anchor, nodes, closed.depth);
  }
  void add(FileNode node, YAML::anchor_t anchor) { put(std::move(node), anchor, 1, 1); }
  void put(FileNode node, YAML::anchor_t anchor, std::size_t nodes, std::size_t depth) {
    if (anchor != 0) {
      count_ += nodes;  // the kept copy costs the same
      anchors_.insert_or_assign(anchor, std::pair(Anchored{node, depth}, nodes));
    }
    if (open_.empty()) {
      root_ = std::move(node);
      done_ = true;
      return;
    }
    Open& top = open_.back();
    if (top.node.kind == FileNode::list) {
      top.node.items.push_back(std::move(node));
    } else if (!top.key) {
      const auto fail_at = [&](std::string message) { throw Stop{Error::bad_input(std::move(message)).at_offset(node.offset)}; };
      if (node.kind != FileNode::scalar || (node.plain && node.text.empty())) fail_at("a key is a text");
      if (node.text.size() > kMaxKeyBytes) fail_at("a key has at most " + std::to_string(kMaxKeyBytes) + " bytes");
      if (!top.keys.insert(node.text).second) fail_at("the key \"" + node.text.substr(0, 60) + "\" stands twice");
      top.key = std::move(node);
    } else {
      top.node.members.push_back({std::move(*top.key), std::move(node)});
      top.key.reset();
    }
  }

  FileNode& root_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, std::pair<Anchored, std::size_t>> anchors_;
  std::size_t count_ = 0;
  int documents_ = 0;
  bool done_ = false;
};

// yaml-cpp's words for what people most often get wrong say little.
std::string explained(const std::string& message) {
  if (message == "illegal map value")
    return "a \":\" within a text without quotes, or a key indented otherwise than its neighbours; put the text in quotes";
  if (message.starts_with("end of map not found")) return "a line is indented otherwise than its neighbours, or a bracket is not closed";
  if (message.starts_with("end of sequence not found")) return "a list entry is indented otherwise than its neighbours";
  if (message.starts_with("bad conversion")) return "a value could not be read";
  return "not valid YAML: " + message;
}

// JSON writes characters beyond 16 bits as two \u escapes, which yaml-cpp refuses; YAML has \U for them.
std::string with_wide_escapes(const std::string& text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    out += text[i];
    if (text[i] != '\\' || i + 1 >= text.size()) continue;
    unsigned high = 0, low = 0;
    const auto hex = [&](std::size_t at, unsigned& code) {
      return at + 4 <= text.size() && std::from_chars(&text[at], &text[at] + 4, code, 16).ptr == &text[at] + 4;
    };
    if (text[i + 1] == 'u' && i + 11 < text.size() && hex(i + 2, high) && high >= 0xd800 && high < 0xdc00 && text[i + 6] == '\\' &&
        text[i + 7] == 'u' && hex(i + 8, low) && low >= 0xdc00 && low < 0xe000) {
      static constexpr char kDigits[] = "0123456789abcdef";
      const unsigned code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
      out += 'U';
      for (int shift = 28; shift >= 0; shift -= 4) out += kDigits[code >> shift & 15];
      i += 11;
    } else {
      out += text[++i];  // an escaped backslash is none
    }
  }
  return out;
}

}  // namespace

const FileNode* FileNode::find(std::string_view key) const noexcept {
  for (const auto& [name, member] : members)
    if (name.text == key) return &member;
  return nullptr;
}

Json FileNode::to_json() const {
  if (kind == scalar) return value;
  if (kind == list) {
    Json out = Json::array();
    for (const auto& item : items) out.push_back(item.to_json());
    return out;
  }
  Json out = Json::object();
  for (const auto& [key, member] : members) out[key.text] = member.to_json();
  return out;
}

const FileNode& FileNode::at_pointer(std::string_view pointer) const {
  const FileNode* at = this;
  while (!pointer.empty() && pointer[0] == '/') {
    pointer.remove_prefix(1);
    const auto end = std::min(pointer.find('/'), pointer.size());
    std::string token;
    for (std::size_t i = 0; i < end; ++i) {
      if (pointer[i] != '~')
        token += pointer[i];
      else
        token += ++i < end && pointer[i] == '1' ? '/' : '~';
    }
    pointer.remove_prefix(end);
    const FileNode* next = nullptr;
    if (at->kind == map) {
      for (const auto& [key, member] : at->members) {
        if (key.text == token) next = &member;
      }
    } else if (at->kind == list) {
      std::size_t index = 0;
      if (std::from_chars(token.data(), token.data() + token.size(), index).ec == std::errc() && index < at->items.size())
        next = &at->items[index];
    }
    if (!next) break;
    at = next;
  }
  return *at;
}

SourceFile::SourceFile(std::string name, std::string text) : name_(std::move(name)), text_(std::move(text)) {
  if (text_.starts_with("\xEF\xBB\xBF")) text_.erase(0, 3);
  const auto first = text_.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && (text_[first] == '{' || text_[first] == '[') && text_.find("\\u") != std::string::npos)
    text_ = with_wide_escapes(text_);
  lines_.push_back(0);
  for (std::size_t i = 0; i < text_.size(); ++i) {
    if (text_[i] == '\n') lines_.push_back(i + 1);
  }
}

Status SourceFile::parse() {
  if (text_.size() > kMaxFileBytes)
    return fail(Error::limit_exceeded("the file has " + std::to_string(text_.size()) + " bytes; at most " + std::to_string(kMaxFileBytes) +
                                      " are read")
                    .at_offset(0));
  if (const auto bad = bad_utf8(text_); bad != std::string::npos) return fail(Error::bad_input("the file is not UTF-8").at_offset(bad));
  if (const auto nul = text_.find('\0'); nul != std::string::npos)
    return fail(Error::bad_input("the file holds a zero byte").at_offset(nul));
  try {
    std::istringstream in(text_);
    YAML::Parser parser(in);
    Builder builder(root_);
    while (parser.HandleNextDocument(builder)) {
    }
    if (!builder.any()) return fail(Error::bad_input("the file is empty").at_offset(0));
    return {};
  } catch (const Stop& stop) {
    return fail(stop.error);
  } catch (const YAML::Exception& e) {
    const auto offset = e.mark.pos < 0 ? 0 : std::min(static_cast<std::size_t>(e.mark.pos), text_.size());
    return fail(Error::bad_input(explained(e.msg)).at_offset(offset));
  } catch (const std::bad_alloc&) {
    return fail(Error::out_of_memory("no memory to read the file"));
  } catch (const std::exception& e) {
    return fail(Error::bad_input(std::string("not valid YAML: ") + e.what()).at_offset(0));
  }
}

SourceFile::Place SourceFile::place(std::size_t offset) const {
  offset = std::min(offset, text_.size());
  const auto line = static_cast<std::size_t>(std::upper_bound(lines_.begin(), lines_.end(), offset) - lines_.begin());
  Place place;
  place.line = line;
  for (std::size_t i = lines_[line - 1]; i < offset; ++i) place.column += (static_cast<unsigned char>(text_[i]) & 0xc0) != 0x80 ? 1 : 0;
  return place;
}

SourceFile::Place SourceFile::place_in(const FileNode& scalar, std::size_t text_offset) const {
  const auto start = place(scalar.offset);
  if (scalar.kind != FileNode::scalar || text_offset > scalar.text.size() || scalar.offset >= text_.size()) return start;
  const char mark = text_[scalar.offset];
  if (scalar.plain) {
    return text_.compare(scalar.offset, text_offset, scalar.text, 0, text_offset) == 0 ? place(scalar.offset + text_offset) : start;
  }
  std::size_t at = scalar.offset + 1;
  if (mark == '\'' || mark == '"') {
    for (std::size_t read = 0; read < text_offset; ++read) {  // bytes of the text and of how it is written, side by side
      if (at >= text_.size() || text_[at] == '\n') return start;
      if (mark == '\'' && text_[at] == '\'') ++at;
      if (mark == '"' && text_[at] == '\\') {
        if (at + 1 >= text_.size() || std::string_view("nrt\"\\/0abefv ").find(text_[at + 1]) == std::string_view::npos) return start;
        ++at;
      }
      ++at;
    }
    return place(at);
  }
  if (mark != '|') return start;
  // A literal block: its lines stand below the mark, indented by as much as the first that is not empty.
  const auto line = start.line;  // the index of the next line, counted from 0
  const auto newlines =
      static_cast<std::size_t>(std::count(scalar.text.begin(), scalar.text.begin() + static_cast<std::ptrdiff_t>(text_offset), '\n'));
  const auto line_begin = text_offset == 0 ? std::string::npos : scalar.text.rfind('\n', text_offset - 1);
  const auto column = line_begin == std::string::npos ? text_offset : text_offset - line_begin - 1;
  for (std::size_t i = line; i < lines_.size(); ++i) {
    const auto content = text_.find_first_not_of(' ', lines_[i]);
    if (content == std::string::npos) break;
    if (text_[content] == '\n' || text_[content] == '\r') continue;
    if (line + newlines >= lines_.size()) break;
    return place(lines_[line + newlines] + (content - lines_[i]) + column);
  }
  return start;
}

}  // namespace corvid::detail
