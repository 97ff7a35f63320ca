// Names of attributes and operations of spans: OpenTelemetry's conventions for generative AI, as of semantic-conventions-genai v0.1.0
// (status Development: they may still change, and then only here).
//
//   auto span = tracer->start("execute_tool search", parent);
//   span->attribute(trace_names::kOperationName, trace_names::kExecuteTool);
//   span->attribute(trace_names::kToolName, "search");
#pragma once

namespace corvid::trace_names {

// Attributes.
inline constexpr char kOperationName[] = "gen_ai.operation.name";          ///< one of the operations below; required
inline constexpr char kProviderName[] = "gen_ai.provider.name";            ///< who runs the model; "corvid" for the engine
inline constexpr char kRequestModel[] = "gen_ai.request.model";
inline constexpr char kInputTokens[] = "gen_ai.usage.input_tokens";        ///< integer; cached ones count
inline constexpr char kOutputTokens[] = "gen_ai.usage.output_tokens";      ///< integer
inline constexpr char kToolName[] = "gen_ai.tool.name";
inline constexpr char kToolCallId[] = "gen_ai.tool.call.id";
inline constexpr char kConversationId[] = "gen_ai.conversation.id";        ///< a graph's thread
inline constexpr char kAgentName[] = "gen_ai.agent.name";                  ///< of an agent, and of a workflow: the graph's name
inline constexpr char kFinishReasons[] = "gen_ai.response.finish_reasons"; ///< list of strings
inline constexpr char kErrorType[] = "error.type";                         ///< an ErrorCode's name

// Values of gen_ai.operation.name; a span is named "OPERATION WHAT", as "chat MODEL" or "execute_tool TOOL".
inline constexpr char kChat[] = "chat";
inline constexpr char kEmbeddings[] = "embeddings";
inline constexpr char kRetrieval[] = "retrieval";
inline constexpr char kExecuteTool[] = "execute_tool";
inline constexpr char kInvokeAgent[] = "invoke_agent";
inline constexpr char kInvokeWorkflow[] = "invoke_workflow";

// Attributes of our own, for which the conventions have no name.
inline constexpr char kNode[] = "corvid.graph.node";
inline constexpr char kTaskId[] = "corvid.graph.task_id";
inline constexpr char kStep[] = "corvid.graph.step";                       ///< integer
inline constexpr char kAttempt[] = "corvid.graph.attempt";                 ///< integer, from 1

}  // namespace corvid::trace_names
