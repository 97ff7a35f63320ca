// Answering questions: what people, and programs for them, do with a thread that waits. Each answer is durable, and in the audit log,
// before anything acts on it; the thread goes on when it is next run (Continue).
//
//   CORVID_TRY(auto open, open_interrupts(*saver));
//   CORVID_TRY_STATUS(answer_interrupt(*saver, open[0].id, {Decision::approve, nullptr, "ana"}));
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/graphs/checkpoint.hpp"
#include "corvid/graphs/run.hpp"

namespace corvid {

enum class Decision : std::uint8_t {
  approve,   ///< go on as proposed
  edit,      ///< go on with this value instead
  reject,    ///< do not; the value may say why
  respond,   ///< an answer to a question
};
std::string_view to_string(Decision decision) noexcept;
Result<Decision> decision_from_string(std::string_view name);   ///< errors: not_found naming the four

struct AnswerRequest {
  Decision decision = Decision::respond;
  Json value;                           ///< respond and edit, and all of a plain question: checked against the response schema
  std::string by;                       ///< who answers; not empty
};

/// Open questions, oldest first; of all threads where `thread_id` is empty. Errors: those of the checkpointer, bad_input (damaged).
Result<std::vector<Interrupt>> open_interrupts(Checkpointer& saver, std::string_view thread_id = {});
/// The thread that asked each of them, beside it.
struct OpenInterrupt { std::string thread_id; Interrupt interrupt; };
Result<std::vector<OpenInterrupt>> open_interrupts_by_thread(Checkpointer& saver, std::string_view thread_id = {});

/// Whether a value fits the question's response schema. Errors: bad_input with its place.
Status check_response(const Interrupt& interrupt, const Json& value);

/// Errors: not_found (no such open question), conflict (answered already, expired), bad_input (the value does not fit the response
/// schema; the question stays open), invalid_argument (nobody answers; a decision that the question's kind does not take).
Status answer_interrupt(Checkpointer& saver, std::string_view interrupt_id, const AnswerRequest& answer);

}  // namespace corvid
