// Requests, events and errors as JSON, for recordings.
#pragma once

#include "corvid/base/json.hpp"
#include "corvid/llm/chat_model.hpp"

namespace corvid::llm {

/// Everything by which requests differ: not the cancellation.
Json request_json(const ChatRequest& request);

/// Fields that are as by default are left out. Log probabilities of -inf are null.
Json event_json(const GenerationEvent& event);
/// Errors: bad_input with the key.
Result<GenerationEvent> event_from_json(const Json& json);

Json error_json(const Error& error);
/// The recorded error itself. Errors: bad_input (not an error's JSON).
Result<Error> error_from_json(const Json& json);

}  // namespace corvid::llm
