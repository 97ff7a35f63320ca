// HTML through gumbo: title, headings, and the text of each block with the bytes and lines of its markup.
#include <gumbo.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retrieval/load/isolated_load.hpp"
#include "retrieval/load/source_file.hpp"

namespace corvid::retrieval {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{16} << 20;  // gumbo's tree takes some 30 times the markup
// gumbo frees its tree by recursion, as we walk it: open elements beyond this would end the stack.
constexpr std::size_t kMaxDepth = 4000;

bool is_one_of(std::string_view name, std::string_view names) {
  return names.find(" " + std::string(name) + " ") != std::string_view::npos;
}

// An upper bound of how deep the elements nest: tags opened and not closed, those that HTML closes by itself left out.
std::size_t nesting(std::string_view html) {
  constexpr std::string_view kSelfClosing =
      " area base br col embed hr img input link meta source track wbr p li dt dd option optgroup tr td th thead tbody tfoot colgroup rp rt ";
  std::size_t depth = 0, deepest = 0;
  for (std::size_t at = html.find('<'); at != std::string_view::npos; at = html.find('<', at + 1)) {
    std::size_t i = at + 1;
    const bool closing = i < html.size() && html[i] == '/';
    if (closing) ++i;
    std::string name;
    for (; i < html.size() && name.size() < 16; ++i) {
      char c = html[i];
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
      if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) break;
      name += c;
    }
    if (name.empty() || is_one_of(name, kSelfClosing)) continue;
    if (closing) depth -= depth > 0 ? 1 : 0;
    else deepest = std::max(deepest, ++depth);
  }
  return deepest;
}

bool is_hidden(GumboTag tag) {
  switch (tag) {
    case GUMBO_TAG_SCRIPT: case GUMBO_TAG_STYLE: case GUMBO_TAG_NOSCRIPT: case GUMBO_TAG_TEMPLATE: case GUMBO_TAG_HEAD: case GUMBO_TAG_SVG:
    case GUMBO_TAG_IFRAME: case GUMBO_TAG_TEXTAREA: case GUMBO_TAG_SELECT:
      return true;
    default: return false;
  }
}

bool is_inline(GumboTag tag) {
  switch (tag) {
    case GUMBO_TAG_A: case GUMBO_TAG_ABBR: case GUMBO_TAG_B: case GUMBO_TAG_BDI: case GUMBO_TAG_BDO: case GUMBO_TAG_BIG: case GUMBO_TAG_CITE:
    case GUMBO_TAG_CODE: case GUMBO_TAG_DATA: case GUMBO_TAG_DEL: case GUMBO_TAG_DFN: case GUMBO_TAG_EM: case GUMBO_TAG_FONT: case GUMBO_TAG_I:
    case GUMBO_TAG_INS: case GUMBO_TAG_KBD: case GUMBO_TAG_LABEL: case GUMBO_TAG_MARK: case GUMBO_TAG_Q: case GUMBO_TAG_S: case GUMBO_TAG_SAMP:
    case GUMBO_TAG_SMALL: case GUMBO_TAG_SPAN: case GUMBO_TAG_STRIKE: case GUMBO_TAG_STRONG: case GUMBO_TAG_SUB: case GUMBO_TAG_SUP:
    case GUMBO_TAG_TIME: case GUMBO_TAG_TT: case GUMBO_TAG_U: case GUMBO_TAG_VAR: case GUMBO_TAG_IMG: case GUMBO_TAG_WBR: case GUMBO_TAG_BR:
    case GUMBO_TAG_TD: case GUMBO_TAG_TH:  // a table's row is a block
      return true;
    default: return false;
  }
}

int heading_level(GumboTag tag) { return tag >= GUMBO_TAG_H1 && tag <= GUMBO_TAG_H6 ? static_cast<int>(tag - GUMBO_TAG_H1) + 1 : 0; }

class Extractor {
 public:
  Extractor(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out)
      : file_(file), limits_(limits), cancellation_(cancellation), out_(out) {}

  Status visit(const GumboNode* node, bool preformatted) {
    switch (node->type) {
      case GUMBO_NODE_TEXT: case GUMBO_NODE_WHITESPACE: case GUMBO_NODE_CDATA:
        text(node->v.text, preformatted);
        return {};
      case GUMBO_NODE_ELEMENT: return element(node->v.element, preformatted);
      default: return {};
    }
  }

  Status flush() {
    std::string text = pre_ ? std::move(block_) : collapse_space(block_);
    block_.clear();
    pre_ = false;
    const ByteRange range{begin_, end_};
    begin_ = end_ = 0;
    if (text.find_first_not_of(" \t\r\n") == std::string::npos) return {};
    if (out_.elements.size() >= limits_.max_elements) return fail(too_many_elements(limits_));
    if (out_.elements.size() % 256 == 0) CORVID_TRY_STATUS(cancellation_.check());
    Element element;
    element.text = std::move(text);
    element.bytes = range;
    element.lines = file_.lines(range);
    element.verbatim = false;
    for (const auto& [level, title] : path_) element.heading.push_back(title);
    out_.elements.push_back(std::move(element));
    return {};
  }

  std::string first_heading;

 private:
  void text(const GumboText& text, bool preformatted) {
    const std::string_view words = text.text;
    if (words.empty()) return;
    block_ += words;
    if (words.find_first_not_of(" \t\r\n\f") == std::string_view::npos) return;
    pre_ = pre_ || preformatted;
    const std::size_t begin = text.start_pos.offset;
    place(begin, begin + text.original_text.length);
  }

  void place(std::uint64_t begin, std::uint64_t end) {
    end = std::min<std::uint64_t>(end, file_.bytes.size());
    begin = std::min(begin, end);
    if (end_ == 0) begin_ = begin;
    begin_ = std::min(begin_, begin);
    end_ = std::max(end_, end);
  }

  Status element(const GumboElement& element, bool preformatted) {
    if (is_hidden(element.tag)) return {};
    if (element.tag == GUMBO_TAG_BR) {
      block_ += preformatted ? "\n" : " ";
      return {};
    }
    if (element.tag == GUMBO_TAG_IMG) {
      if (const GumboAttribute* alt = gumbo_get_attribute(&element.attributes, "alt"); alt != nullptr && *alt->value != '\0') {
        block_ += std::string(" ") + alt->value + " ";
        place(element.start_pos.offset, element.start_pos.offset + element.original_tag.length);
      }
      return {};
    }
    const bool block = !is_inline(element.tag);
    const int level = heading_level(element.tag);
    if (block) CORVID_TRY_STATUS(flush());
    if (level > 0)
      while (!path_.empty() && path_.back().first >= level) path_.pop_back();
    if (element.tag == GUMBO_TAG_TD || element.tag == GUMBO_TAG_TH) {
      if (block_.find_first_not_of(" \t\r\n") != std::string::npos) block_ += " | ";
    }
    for (unsigned i = 0; i < element.children.length; ++i)
      CORVID_TRY_STATUS(visit(static_cast<const GumboNode*>(element.children.data[i]), preformatted || element.tag == GUMBO_TAG_PRE));
    if (level > 0) {
      std::string title = collapse_space(block_);
      if (first_heading.empty()) first_heading = title;
      if (!title.empty()) path_.emplace_back(level, std::move(title));
    }
    return block ? flush() : Status{};
  }

  const SourceFile& file_;
  const LoadLimits& limits_;
  const CancellationToken& cancellation_;
  Document& out_;
  std::vector<std::pair<int, std::string>> path_;
  std::string block_;
  std::uint64_t begin_ = 0, end_ = 0;
  bool pre_ = false;
};

const GumboElement* child(const GumboElement& parent, GumboTag tag) {
  for (unsigned i = 0; i < parent.children.length; ++i) {
    const auto* node = static_cast<const GumboNode*>(parent.children.data[i]);
    if (node->type == GUMBO_NODE_ELEMENT && node->v.element.tag == tag) return &node->v.element;
  }
  return nullptr;
}

}  // namespace

Status parse_html(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out) {
  if (file.bytes.size() > kMaxBytes) return fail(Error::limit_exceeded("more than 16 MiB of HTML; split the file"));
  if (nesting(file.bytes) > kMaxDepth) return fail(Error::limit_exceeded("HTML elements nested more than " + std::to_string(kMaxDepth) + " deep"));
  const auto destroy = [](GumboOutput* tree) { gumbo_destroy_output(&kGumboDefaultOptions, tree); };
  const std::unique_ptr<GumboOutput, decltype(destroy)> tree(gumbo_parse_with_options(&kGumboDefaultOptions, file.bytes.data(), file.bytes.size()),
                                                             destroy);
  if (!tree) return fail(Error::bad_input("the HTML parser gave up"));
  Extractor extractor(file, limits, cancellation, out);
  CORVID_TRY_STATUS(extractor.visit(tree->root, false));
  CORVID_TRY_STATUS(extractor.flush());
  if (const GumboElement* head = child(tree->root->v.element, GUMBO_TAG_HEAD)) {
    if (const GumboElement* title = child(*head, GUMBO_TAG_TITLE); title != nullptr && title->children.length > 0) {
      const auto* node = static_cast<const GumboNode*>(title->children.data[0]);
      if (node->type == GUMBO_NODE_TEXT) out.title = collapse_space(node->v.text.text);
    }
  }
  if (out.title.empty()) out.title = extractor.first_heading;
  return {};
}

Status load_html(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out) {
  // gumbo 0.10 has assertions that some markup breaks, and they end the process.
  return load_isolated(parse_html, file, limits, cancellation, out);
}

}  // namespace corvid::retrieval
