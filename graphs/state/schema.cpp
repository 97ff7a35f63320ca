#include "corvid/graphs/schema.hpp"

#include <algorithm>
#include <numeric>

#include "corvid/graphs/key.hpp"

namespace corvid {

Schema::Schema(std::vector<ChannelSpec> channels) : channels_(std::move(channels)), by_name_(channels_.size()) {
  std::iota(by_name_.begin(), by_name_.end(), 0u);
  std::sort(by_name_.begin(), by_name_.end(), [&](auto a, auto b) { return channels_[a].name < channels_[b].name; });
}

std::uint32_t Schema::find(std::string_view name) const noexcept {
  const auto less = [&](std::uint32_t index, std::string_view wanted) { return channels_[index].name < wanted; };
  const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name, less);
  return at != by_name_.end() && channels_[*at].name == name ? *at : npos;
}

Result<Json> StateView::to_json() const {
  Json object = extra_ ? *extra_ : Json::object();
  for (std::size_t i = 0; i < values_.size(); ++i) {
    if (!values_[i] || values_[i].type()->handle) continue;
    auto value = values_[i].to_json();
    if (!value) return fail(std::move(value).error().at_key(schema_->at(i).name));
    object[schema_->at(i).name] = std::move(*value);
  }
  return object;
}

namespace detail {
namespace {

// Constructors of keys have no way to be handed the builder, so the one being filled on this thread is found here.
thread_local LayoutBuilder* filling = nullptr;

}  // namespace

LayoutBuilder::LayoutBuilder() : outer_(filling) { filling = this; }
LayoutBuilder::~LayoutBuilder() { filling = outer_; }

std::uint32_t LayoutBuilder::add(ChannelSpec spec) {
  if (!filling) return Schema::npos;
  filling->channels.push_back(std::move(spec));
  return static_cast<std::uint32_t>(filling->channels.size() - 1);
}

}  // namespace detail
}  // namespace corvid
