// What joins graphs and models: sequences that come back from checkpoints, and nodes that generate.
//
//   struct Work {
//     Key<std::shared_ptr<Sequence>> trunk{"trunk"};
//     Key<std::vector<std::string>> texts{"texts", append};
//   };
//   CompileOptions options;
//   options.restorers["sequence"] = sequence_restorer(engine);
//   graph.add_node("write", [&](NodeContext& context) -> Task<NodeResult> {
//     const auto branch = context.view<Work>()[&Work::trunk];                   // this task's own fork
//     GenerateRequest request;
//     CORVID_CO_TRY(auto result, co_await continue_in_node(context, *engine, *branch, std::move(request)));
//     co_return update(&Work::texts, {result.text});
//   });
#pragma once

#include <memory>

#include "corvid/base/task.hpp"
#include "corvid/graphs/graph.hpp"
#include "corvid/graphs/node.hpp"
#include "corvid/llm/chat_model.hpp"
#include "corvid/llm/engine.hpp"

namespace corvid {

/// For CompileOptions::restorers["sequence"]: Engine::restore_or_recompute, with its note. Blocks while KV is computed again.
Restorer sequence_restorer(std::shared_ptr<Engine> engine, ConstraintFactory constraints = {});

/// Continues `sequence` with `engine`, whose it is; each piece of text goes out as emit_message({"text": …}). Stops within one token when
/// the node's or the request's token is cancelled or its deadline passes; the sequence is then, as after any error, what it was before:
/// no half answer. `context`, `engine` and `sequence` are borrowed until the task ends.
/// Errors: cancelled, deadline_exceeded, those of Engine::continue_sequence.
Task<GenerationResult> continue_in_node(NodeContext& context, Engine& engine, Sequence& sequence, GenerateRequest request);

/// The same for a conversation: nothing of an answer that was broken off is returned. Errors: cancelled, deadline_exceeded, those of
/// ChatModel::chat and its stream.
Task<GenerationResult> chat_in_node(NodeContext& context, ChatModel& model, ChatRequest request);

}  // namespace corvid
