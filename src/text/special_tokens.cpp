#include "special_tokens.hpp"

#include <algorithm>

namespace corvid {
namespace {

bool is_ascii_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool touches(std::span<const TextRange> ranges, std::size_t begin, std::size_t end) {
  const auto after = std::partition_point(ranges.begin(), ranges.end(), [&](const TextRange& r) { return r.end <= begin; });
  return after != ranges.end() && after->begin < end;
}

}  // namespace

SpecialTokens::SpecialTokens(std::vector<SpecialToken> tokens, Order order) : tokens_(std::move(tokens)), order_(order) {
  std::erase_if(tokens_, [](const SpecialToken& t) { return t.text.empty(); });
  std::stable_sort(tokens_.begin(), tokens_.end(), [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); });
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const auto first = static_cast<unsigned char>(tokens_[i].text[0]);
    by_first_[first].push_back({i, static_cast<std::uint32_t>(tokens_[i].text.size()), tokens_[i].text.size() > 1 ? tokens_[i].text[1] : '\0'});
    plain_[first] = plain_[first] || !tokens_[i].control;
  }
}

std::vector<Fragment> SpecialTokens::split(std::string_view text, bool parse_control, std::span<const TextRange> literal) const {
  if (text.empty()) return {};
  // Which markers occur at all: a vocabulary may have thousands, a text has few.
  std::vector<std::pair<std::size_t, std::size_t>> found;  // position, index
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto first = static_cast<unsigned char>(text[at]);
    if (!parse_control && !plain_[first]) continue;
    for (const Start& start : by_first_[first]) {
      if (start.size > text.size() - at || (start.size > 1 && text[at + 1] != start.second)) continue;
      const std::size_t i = start.index;
      if (tokens_[i].control && !parse_control) continue;
      if (text.substr(at, start.size) != tokens_[i].text) continue;
      if (tokens_[i].control && touches(literal, at, at + start.size)) continue;
      found.emplace_back(at, i);
    }
  }
  if (found.empty()) return {{0, text.size(), -1}};
  if (order_ == Order::longest_marker_first) {
    std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  }
  // Take what does not overlap with what was taken before; within one marker from the left.
  std::vector<Fragment> taken;
  std::size_t end = 0;
  std::vector<bool> used;
  if (order_ == Order::longest_marker_first) used.resize(text.size());
  for (const auto& [at, i] : found) {
    const std::size_t stop = at + tokens_[i].text.size();
    if (order_ == Order::leftmost_longest) {
      if (at < end) continue;
      end = stop;
    } else {
      bool free = true;
      for (std::size_t k = at; k < stop && free; ++k) free = !used[k];
      if (!free) continue;
      for (std::size_t k = at; k < stop; ++k) used[k] = true;
    }
    std::size_t begin = at, finish = stop;
    if (tokens_[i].lstrip) while (begin > 0 && is_ascii_space(text[begin - 1])) --begin;
    if (tokens_[i].rstrip) while (finish < text.size() && is_ascii_space(text[finish])) ++finish;
    taken.push_back({begin, finish, tokens_[i].id});
  }
  std::sort(taken.begin(), taken.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  std::vector<Fragment> out;
  std::size_t at = 0;
  for (auto& fragment : taken) {
    fragment.begin = std::max(fragment.begin, at);
    if (fragment.begin > at) out.push_back({at, fragment.begin, -1});
    out.push_back(fragment);
    at = std::max(at, fragment.end);
  }
  if (at < text.size()) out.push_back({at, text.size(), -1});
  return out;
}

}  // namespace corvid
