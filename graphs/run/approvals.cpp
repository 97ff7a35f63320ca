#include "corvid/graphs/approvals.hpp"

#include <algorithm>

#include "corvid/base/json_schema.hpp"
#include "graphs/persist/codec.hpp"
#include "graphs/run/task.hpp"

namespace corvid {

std::string_view to_string(Decision decision) noexcept {
  switch (decision) {
    case Decision::approve: return "approve";
    case Decision::edit: return "edit";
    case Decision::reject: return "reject";
    case Decision::respond: return "respond";
  }
  return "respond";
}

Result<Decision> decision_from_string(std::string_view name) {
  for (const auto decision : {Decision::approve, Decision::edit, Decision::reject, Decision::respond}) {
    if (to_string(decision) == name) return decision;
  }
  return fail(Error::not_found("no decision \"" + std::string(name) + "\"; there are approve, edit, reject and respond"));
}

Result<std::vector<OpenInterrupt>> open_interrupts_by_thread(Checkpointer& saver, std::string_view thread_id) {
  CORVID_TRY(const auto records, saver.open_interrupts(thread_id));
  std::vector<OpenInterrupt> out;
  for (const auto& record : records) {
    CORVID_TRY(auto interrupt, read_interrupt(record));
    out.push_back({record.thread_id, std::move(interrupt)});
  }
  return out;
}

Result<std::vector<Interrupt>> open_interrupts(Checkpointer& saver, std::string_view thread_id) {
  CORVID_TRY(auto by_thread, open_interrupts_by_thread(saver, thread_id));
  std::vector<Interrupt> out;
  for (auto& each : by_thread) out.push_back(std::move(each.interrupt));
  return out;
}

Status check_response(const Interrupt& interrupt, const Json& value) {
  if (interrupt.response_schema.is_null()) return {};
  const auto schema = JsonSchema::compile(interrupt.response_schema);
  if (!schema) return fail(Error(schema.error()).at_key(interrupt.id));
  auto fits = schema->check(value);
  if (fits) return {};
  const Error why = std::move(fits).error();
  return fail(Error::bad_input("the answer does not fit what was asked for: " + why.message() + "; the question stays open").at_key(why.key().empty() ? interrupt.id : why.key()));
}

Status answer_interrupt(Checkpointer& saver, std::string_view interrupt_id, const AnswerRequest& answer) {
  if (answer.by.empty()) return fail(Error::invalid_argument("an answer must say whose it is").at_key(std::string(interrupt_id)));
  // Expired ones too, so that the store can say that they are.
  CORVID_TRY(const auto records, saver.open_interrupts({}, true));
  const auto at = std::find_if(records.begin(), records.end(), [&](const auto& record) { return record.id == interrupt_id; });
  const std::int64_t now = unix_ms();
  if (at != records.end()) {
    CORVID_TRY(const auto interrupt, read_interrupt(*at));
    // "Yes" to "how many?" would be an answer that the node cannot take; an approval needs no value but where it is edited.
    if (answer.decision == Decision::respond || answer.decision == Decision::edit || interrupt.kind == "question") {
      CORVID_TRY_STATUS(check_response(interrupt, answer.value));
    }
    if (interrupt.kind == "unknown" && answer.decision != Decision::respond) {
      return fail(Error::invalid_argument("this question takes a response: {\"action\": retry, skip or result}").at_key(interrupt.id));
    }
  }
  AnswerRecord record;
  record.interrupt_id = std::string(interrupt_id);
  record.by = answer.by;
  if (at != records.end()) record.thread_id = at->thread_id;
  record.answered_ms = now;
  record.body = encode_json({{"decision", std::string(to_string(answer.decision))}, {"value", answer.value}});
  AuditRecord audit;
  audit.at_ms = now;
  audit.actor = answer.by;
  audit.action = std::string(to_string(answer.decision));
  audit.subject = record.interrupt_id;
  audit.detail = encode_json({{"thread", at != records.end() ? at->thread_id : ""}, {"node", at != records.end() ? at->node : ""}, {"value", answer.value}});
  return saver.answer(record, audit, now);
}

}  // namespace corvid
