// The prompt of a question over passages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "corvid/llm/chat_model.hpp"
#include "corvid/retrieval/collection.hpp"

namespace corvid {

/// System text, the history's turns, then the passages numbered from 1 and the question.
std::vector<Message> rag_messages(std::string_view question, const std::vector<Hit>& passages, const std::vector<Message>& history);

/// Removes the oldest whole turn (a user message and what answered it). False when there is none.
bool drop_oldest_turn(std::vector<Message>& history);

}  // namespace corvid
