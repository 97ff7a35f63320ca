// RagPipeline: a question, retrieved passages, a streamed answer, checked citations.
//
//   RagPipeline rag(collection, model);
//   CORVID_TRY(auto answer, rag.ask("How do I install it?", options, [](std::string_view text) { … }));
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/cancellation.hpp"
#include "corvid/llm/chat_model.hpp"
#include "corvid/retrieval/collection.hpp"

namespace corvid {

struct RagOptions {
  std::size_t k = 5;                       ///< passages at most
  std::uint32_t context_tokens = 1536;     ///< budget for passages in the prompt
  int max_tokens = 256;
  SamplingParams sampling;
  SearchOptions search;
  float min_relevance = 0.25f;             ///< best dense cosine below this (and no lexical match): "nothing relevant"
  float attribution_threshold = 0.45f;     ///< see docs/citations.md
  std::vector<Message> history;            ///< earlier turns, oldest first
  CancellationToken cancellation;
};

struct Citation {
  int n = 0;
  enum class By : std::uint8_t { model, attribution } by = By::model;
  Hit hit;
};

struct RagAnswer {
  std::string answer;                      ///< each [n] is the n of one citation
  bool grounded = false;                   ///< false: no citations, no [n]
  std::vector<Citation> citations;
  std::vector<std::string> unsupported;    ///< sentences that nothing retrieved supports
  std::vector<std::string> removed;        ///< markers the model wrote that point to nothing retrieved
  std::vector<std::string> notes;          ///< "dropped 2 oldest turns", …
  Usage usage;
  GenerationTimings timings;
  double retrieval_ms = 0;
};

/// Thread-safe as its parts are.
class RagPipeline {
 public:
  RagPipeline(Runtime& runtime, std::shared_ptr<Collection> collection, std::shared_ptr<ChatModel> model);
  /// Blocks; `on_text` sees the model's text as it is produced, before citations are checked. Errors: as search and chat.
  Result<RagAnswer> ask(std::string_view question, const RagOptions& options, const std::function<void(std::string_view)>& on_text = {});

 private:
  Runtime& runtime_;
  std::shared_ptr<Collection> collection_;
  std::shared_ptr<ChatModel> model_;
};

}  // namespace corvid
