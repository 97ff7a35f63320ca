// corvid chat: a conversation whose history is kept in the workspace.
#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "apps/cli/collection_access.hpp"
#include "apps/cli/json_output.hpp"
#include "apps/cli/session.hpp"
#include "corvid/agents/chat_history.hpp"
#include "corvid/agents/rag.hpp"
#include "corvid/llm/chat_model.hpp"
#include "corvid/runtime/wait.hpp"

namespace corvid::cli {

namespace {

class Chat final : public Command {
 public:
  CommandInfo info() const override {
    return {"chat", "a conversation, kept in the workspace", "  corvid chat\n  corvid chat --thread trip \"Where were we?\"\n  corvid chat --documents --collection handbook\n  corvid chat --thread trip --forget"};
  }
  void options(OptionSet& set) override {
    set.argument("MESSAGE", message_, false, "one turn; without it, a turn a line of standard input");
    model_.declare(set);
    where_.declare(set);
    set.text("thread", thread_, "the conversation's name");
    set.text("system", system_, "the system message");
    set.flag("documents", documents_, "answer from the collection, with citations");
    set.flag("forget", forget_, "delete the conversation and end");
    set.integer("max-tokens", max_tokens_, 1, 1 << 20, "of an answer");
    set.real("temperature", temperature_, 0, 100, "0 takes the best token");
    set.integer("seed", seed_, 0, INT64_MAX, "of the random generator");
  }
  Status run(Session& session) override {
    CORVID_TRY(auto workspace, Workspace::open(where_.workspace));
    CORVID_TRY(auto history, ChatHistory::open(std::move(workspace)));
    if (forget_) {
      CORVID_TRY_STATUS(history.remove(thread_));
      return session.json ? session.write_json({{"deleted", thread_}}) : session.write_line("forgot " + thread_);
    }
    std::shared_ptr<Collection> collection;
    if (documents_) {
      CORVID_TRY(collection, open_collection(session, where_, model_));
    }
    CORVID_TRY(const auto loaded, load_chat_model(session, model_));
    if (!message_.empty()) return turn(session, history, *loaded.model, loaded, collection, message_);
    const bool prompts = ::isatty(STDIN_FILENO) != 0;
    std::string line;
    while (!session.interrupted()) {
      if (prompts) std::fputs("> ", stderr);
      if (!std::getline(std::cin, line)) break;
      if (line.empty()) continue;
      CORVID_TRY_STATUS(turn(session, history, *loaded.model, loaded, collection, line));
    }
    return {};
  }

 private:
  Status turn(Session& session, ChatHistory& history, ChatModel& model, const LoadedChatModel& loaded, const std::shared_ptr<Collection>& collection, const std::string& text) {
    CORVID_TRY(auto messages, history.load(thread_));
    Json out = {{"thread", thread_}};
    std::string answer;
    if (collection) {
      CORVID_TRY(answer, answer_from_documents(session, loaded, collection, std::move(messages), text, out));
    } else {
      CORVID_TRY(answer, answer_plainly(session, model, loaded, std::move(messages), text, out));
    }
    if (session.interrupted()) return fail(Error::cancelled("interrupted; this turn was not kept"));
    CORVID_TRY_STATUS(history.append(thread_, {Message::user(text), Message::assistant(answer)}));
    if (!session.json) return {};
    out["answer"] = answer;
    return session.write_json(out);
  }

  Result<std::string> answer_from_documents(Session& session, const LoadedChatModel& loaded, const std::shared_ptr<Collection>& collection, std::vector<Message> messages, const std::string& text, Json& out) {
    RagOptions options;
    options.max_tokens = static_cast<int>(max_tokens_);
    options.sampling.temperature = static_cast<float>(temperature_);
    options.sampling.seed = static_cast<std::uint64_t>(seed_);
    options.history = std::move(messages);
    options.cancellation = session.cancellation();
    RagPipeline pipeline(session.runtime(), collection, loaded.model);
    CORVID_TRY(const auto answer, pipeline.ask(text, options));
    out["grounded"] = answer.grounded;
    out["citations"] = Json::array();
    for (const auto& citation : answer.citations) {
      Json entry = hit_json(citation.hit);
      entry["n"] = citation.n;
      entry["by"] = citation.by == Citation::By::model ? "model" : "attribution";
      out["citations"].push_back(std::move(entry));
    }
    out["usage"] = usage_json(answer.usage);
    out["timings"] = timings_json(answer.timings, loaded.load_ms);
    for (const auto& note : answer.notes) session.note(note);
    if (!session.json) {
      CORVID_TRY_STATUS(session.write_line(answer.answer));
      for (const auto& citation : answer.citations) CORVID_TRY_STATUS(session.write_line("[" + std::to_string(citation.n) + "] " + place_text(citation.hit)));
    }
    return answer.answer;
  }

  /// Whole oldest turns go until the prompt and the answer fit the context.
  std::size_t drop_oldest(ChatModel& model, ChatRequest& request) const {
    const auto limit = model.context_tokens();
    const std::size_t first = system_.empty() ? 0 : 1;
    std::size_t dropped = 0;
    while (limit) {
      const auto tokens = model.count_tokens(request);
      if (!tokens || *tokens + static_cast<std::uint64_t>(max_tokens_) <= *limit || request.messages.size() < first + 3) break;
      const auto oldest = request.messages.begin() + static_cast<std::ptrdiff_t>(first);
      auto end = oldest + 1;
      while (end != request.messages.end() && end->role != Role::user) ++end;  // a turn ends where the next user's message begins
      if (end == request.messages.end()) break;
      request.messages.erase(oldest, end);
      ++dropped;
    }
    return dropped;
  }

  Result<std::string> answer_plainly(Session& session, ChatModel& model, const LoadedChatModel& loaded, std::vector<Message> messages, const std::string& text, Json& out) {
    ChatRequest request;
    if (!system_.empty()) request.messages.push_back(Message::system(system_));
    for (auto& message : messages) request.messages.push_back(std::move(message));
    request.messages.push_back(Message::user(text));
    request.sampling.temperature = static_cast<float>(temperature_);
    request.sampling.seed = static_cast<std::uint64_t>(seed_);
    request.max_tokens = static_cast<int>(max_tokens_);
    request.cancellation = session.cancellation();
    const std::size_t dropped = drop_oldest(model, request);
    if (dropped > 0) session.note("dropped the " + std::to_string(dropped) + " oldest turns: the conversation is over the model's context");
    CORVID_TRY(auto stream, session.runtime().wait(model.chat(std::move(request))));
    std::string answer;
    while (auto event = stream.next_blocking()) {
      if (!*event) return fail(std::move(event->error()));
      answer += (*event)->text;
      if (!session.json) CORVID_TRY_STATUS(session.write((*event)->text));
      if ((*event)->finish_reason) {
        out["usage"] = usage_json((*event)->usage);
        out["timings"] = timings_json((*event)->timings, loaded.load_ms);
        out["finish_reason"] = std::string(to_string(*(*event)->finish_reason));
      }
    }
    out["dropped_turns"] = dropped;
    if (!session.json) CORVID_TRY_STATUS(session.write("\n"));
    return answer;
  }

  std::string message_, thread_ = "default", system_;
  ChatModelOptions model_;
  WorkspaceOptionsCli where_;
  bool documents_ = false, forget_ = false;
  std::int64_t max_tokens_ = 512, seed_ = 0;
  double temperature_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_chat() { return std::make_unique<Chat>(); }

}  // namespace corvid::cli
