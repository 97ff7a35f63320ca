// A model and a collection that do what the test says.
#pragma once

#include <cmath>
#include <deque>
#include <set>

#include "agents/sentences.hpp"
#include "corvid/agents/rag.hpp"
#include "corvid/text/unicode.hpp"

namespace corvid::test {

/// Answers each chat() with the next scripted text, in two pieces, and keeps the requests. Counts one token a byte.
class ScriptedModel : public ChatModel {
 public:
  std::deque<std::string> replies;
  std::vector<ChatRequest> requests;
  std::optional<std::uint64_t> context;

  Task<EventStream> chat(ChatRequest request) override {
    requests.push_back(std::move(request));
    class Source : public EventStream::Source {
     public:
      explicit Source(const std::string& text) {
        GenerationEvent first, last;
        first.text = text.substr(0, text.size() / 2);
        last.text = text.substr(text.size() / 2);
        last.finish_reason = FinishReason::stop;
        last.usage.completion_tokens = 7;
        events_ = {first, last};
      }
      boost::asio::awaitable<std::optional<Result<GenerationEvent>>> next() override { co_return next_blocking(); }
      std::optional<Result<GenerationEvent>> next_blocking() override {
        if (events_.empty()) return std::nullopt;
        GenerationEvent event = events_.front();
        events_.pop_front();
        return Result<GenerationEvent>(std::move(event));
      }
      void cancel() override { events_.clear(); }

     private:
      std::deque<GenerationEvent> events_;
    };
    std::string text = replies.empty() ? std::string() : replies.front();
    if (!replies.empty()) replies.pop_front();
    auto source = std::make_unique<Source>(text);
    co_return EventStream(std::move(source));
  }
  std::string_view name() const noexcept override { return "scripted"; }
  std::optional<std::uint64_t> context_tokens() const noexcept override { return context; }
  std::optional<std::uint64_t> count_tokens(const ChatRequest& request) const override {
    std::uint64_t bytes = 0;
    for (const auto& message : request.messages) bytes += message.text().size();
    return bytes;
  }
};

/// A bag of words hashed into 64 dimensions, unit length: similar texts share words.
inline std::vector<float> bag_of_words(const std::vector<std::string_view>& texts) {
  std::vector<float> out(texts.size() * 64, 0.0f);
  for (std::size_t t = 0; t < texts.size(); ++t) {
    float* row = &out[t * 64];
    const std::string lower = unicode::lower(texts[t]);
    for (const auto word : content_words(lower)) {
      std::uint32_t hash = 2166136261u;
      for (const char c : word) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
      row[hash % 64] += 1;
    }
    float norm = 0;
    for (int i = 0; i < 64; ++i) norm += row[i] * row[i];
    if (norm > 0) {
      for (int i = 0; i < 64; ++i) row[i] /= std::sqrt(norm);
    }
  }
  return out;
}

/// Returns the same hits for every query.
class FixedCollection : public Collection {
 public:
  std::vector<Hit> hits;

  void add(std::string text, std::optional<float> dense) {
    Hit hit;
    hit.chunk_id = static_cast<std::int64_t>(hits.size());
    hit.source = "/docs/" + std::to_string(hits.size()) + ".md";
    hit.text = std::move(text);
    hit.scores.dense = dense;
    hits.push_back(std::move(hit));
  }
  Result<IngestReport> ingest(const std::vector<std::filesystem::path>&, const IngestOptions&) override { return IngestReport{}; }
  Result<IngestReport> remove_paths(const std::vector<std::filesystem::path>&) override { return IngestReport{}; }
  Result<std::vector<Hit>> search(std::string_view, const SearchOptions& options, const CancellationToken&) override {
    auto out = hits;
    if (out.size() > options.k) out.resize(options.k);
    return out;
  }
  Result<CollectionInfo> info() override { return CollectionInfo{}; }
  Result<std::vector<float>> embed(const std::vector<std::string_view>& texts) override { return bag_of_words(texts); }
};

}  // namespace corvid::test
