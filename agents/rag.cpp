#include "corvid/agents/rag.hpp"

#include <algorithm>
#include <chrono>

#include "agents/citations.hpp"
#include "agents/prompt.hpp"
#include "agents/repetition.hpp"
#include "corvid/runtime/wait.hpp"

namespace corvid {
namespace {

constexpr std::string_view kNothingFound = "I found nothing relevant to this question in the collection.";
// Where a model cannot count its tokens: English text of today's tokenizers has about four bytes a token; three is the safe side.
constexpr std::uint64_t kBytesPerToken = 3;

std::uint64_t prompt_tokens(const ChatModel& model, const ChatRequest& request) {
  if (auto counted = model.count_tokens(request)) return *counted;
  std::uint64_t bytes = 0;
  for (const auto& message : request.messages) bytes += message.text().size() + 16;
  return bytes / kBytesPerToken + 1;
}

// Dense hits below the threshold are noise whatever their words; without a dense score a lexical match is all there is to go by.
bool relevant(const std::vector<Hit>& hits, float min_relevance) {
  const bool any_dense = std::any_of(hits.begin(), hits.end(), [](const Hit& h) { return h.scores.dense.has_value(); });
  if (!any_dense) return !hits.empty();
  return std::any_of(hits.begin(), hits.end(), [&](const Hit& h) { return h.scores.dense && *h.scores.dense >= min_relevance; });
}

}  // namespace

RagPipeline::RagPipeline(Runtime& runtime, std::shared_ptr<Collection> collection, std::shared_ptr<ChatModel> model)
    : runtime_(runtime), collection_(std::move(collection)), model_(std::move(model)) {}

Result<RagAnswer> RagPipeline::ask(std::string_view question, const RagOptions& options,
                                   const std::function<void(std::string_view)>& on_text) {
  const auto start = std::chrono::steady_clock::now();
  RagAnswer answer;
  SearchOptions search = options.search;
  search.k = options.k;
  CORVID_TRY(std::vector<Hit> hits, collection_->search(question, search, options.cancellation));
  answer.retrieval_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  if (!relevant(hits, options.min_relevance)) {
    answer.answer = kNothingFound;
    if (on_text) on_text(answer.answer);
    return answer;
  }

  ChatRequest request;
  request.sampling = options.sampling;
  request.max_tokens = options.max_tokens;
  request.cancellation = options.cancellation;
  std::vector<Message> history = options.history;

  // Passages first give way to their own budget, then the oldest turns, then more passages to the model's context.
  const auto budget_of = [&](const std::vector<Message>& messages) {
    request.messages = messages;
    return prompt_tokens(*model_, request);
  };
  const std::uint64_t without = budget_of(rag_messages(question, {}, {}));
  while (hits.size() > 1 && budget_of(rag_messages(question, hits, {})) > without + options.context_tokens) hits.pop_back();
  if (const auto context = model_->context_tokens()) {
    const auto reply = static_cast<std::uint64_t>(std::max(options.max_tokens, 1));
    const std::uint64_t room = *context > reply ? *context - reply : 1;
    std::size_t dropped = 0;
    while (budget_of(rag_messages(question, hits, history)) > room && drop_oldest_turn(history)) ++dropped;
    if (dropped > 0) {
      answer.notes.push_back("dropped the " + std::to_string(dropped) + (dropped == 1 ? " oldest turn" : " oldest turns") +
                             " to fit the model's context of " + std::to_string(*context) + " tokens");
    }
    while (hits.size() > 1 && budget_of(rag_messages(question, hits, history)) > room) hits.pop_back();
  }
  request.messages = rag_messages(question, hits, history);

  CORVID_TRY(EventStream stream, runtime_.wait(model_->chat(std::move(request))));
  std::string text;
  bool looped = false;
  while (auto event = stream.next_blocking()) {
    if (!*event) return fail(std::move(*event).error());
    const GenerationEvent& e = **event;
    if (!looped) {
      text += e.text;
      if (on_text && !e.text.empty()) on_text(e.text);
      if (const auto begin = loop_start(text); begin != std::string::npos) {
        looped = true;
        text.resize(begin);
        answer.notes.push_back("the model repeated itself; the answer ends there");
        stream.cancel();
      }
    }
    if (e.finish_reason) {
      answer.usage = e.usage;
      answer.timings = e.timings;
      if (*e.finish_reason == FinishReason::cancelled && !looped) return fail(Error::cancelled("the question was cancelled while the model answered"));
      if (*e.finish_reason == FinishReason::deadline) return fail(Error::deadline_exceeded("the deadline passed while the model answered"));
    }
  }

  std::vector<std::string_view> passages;
  for (const auto& hit : hits) passages.push_back(hit.text);
  const auto embed = [&](const std::vector<std::string_view>& texts) { return collection_->embed(texts); };
  CORVID_TRY(CheckedAnswer checked, check_citations(text, passages, options.attribution_threshold, embed));
  answer.answer = std::move(checked.text);
  answer.unsupported = std::move(checked.unsupported);
  answer.removed = std::move(checked.removed);
  for (std::size_t i = 0; i < hits.size(); ++i) {
    const int n = static_cast<int>(i) + 1;
    if (checked.by_model.contains(n)) answer.citations.push_back({n, Citation::By::model, hits[i]});
    else if (checked.by_attribution.contains(n)) answer.citations.push_back({n, Citation::By::attribution, hits[i]});
  }
  answer.grounded = !answer.citations.empty();
  return answer;
}

}  // namespace corvid
