// corvid approvals: what waits for a person, and the person's word.
#include "apps/cli/graph_access.hpp"
#include "apps/cli/session.hpp"
#include "corvid/graphs/approvals.hpp"

namespace corvid::cli {
namespace {

class Approvals final : public Command {
 public:
  CommandInfo info() const override {
    return {"approvals", "questions that graphs have asked, and answers to them",
            "  corvid approvals list\n"
            "  corvid approvals approve ID --by ana\n"
            "  corvid approvals approve --thread r1 --by ana\n"
            "  corvid approvals edit ID '{\"amount\": 90}' --by ana\n"
            "  corvid approvals reject ID '\"too dear\"' --by ana\n"
            "  corvid approvals respond ID '\"the second one\"' --by ana\n"
            "  corvid approvals audit --json"};
  }
  void options(OptionSet& set) override {
    set.argument("ACTION", action_, true, "list, approve, edit, reject, respond or audit");
    set.argument("ID", id_, false, "the question's");
    set.argument("JSON", value_, false, "the value: what to do instead (edit), why (reject), the answer (respond)");
    store_.declare(set);
    set.text("by", by_, "who answers");
    set.text("thread", thread_, "list: only what this thread asks; approve, reject: in place of the ID where the thread asks one thing");
  }
  Status run(Session& session) override {
    CORVID_TRY(const auto saver, store_.open(false));
    if (action_ == "list") return list(session, *saver);
    if (action_ == "audit") return audit(session, *saver);
    auto decision = decision_from_string(action_);
    if (!decision) return fail(Error::invalid_argument("no action \"" + action_ + "\"; list, approve, edit, reject, respond and audit are known"));
    if (id_.empty() && !thread_.empty()) {
      CORVID_TRY(const auto open, open_interrupts(*saver, thread_));
      if (open.empty()) return fail(Error::not_found("the thread \"" + thread_ + "\" asks nothing"));
      if (open.size() > 1) return fail(Error::invalid_argument("the thread \"" + thread_ + "\" has " + std::to_string(open.size()) + " open questions: name one by its ID; corvid approvals list shows them").at_key("thread"));
      id_ = open[0].id;
    }
    if (id_.empty()) return fail(Error::invalid_argument("approvals " + action_ + " needs the question's ID (corvid approvals list shows them), or --thread where a thread asks one thing"));
    if (by_.empty()) return fail(Error::invalid_argument("approvals " + action_ + " needs --by, who answers").at_key("by"));
    if (value_.empty() && (*decision == Decision::edit || *decision == Decision::respond)) {
      return fail(Error::invalid_argument("approvals " + action_ + " needs a value, as JSON"));
    }
    AnswerRequest answer;
    answer.decision = *decision;
    answer.by = by_;
    if (!value_.empty()) {
      auto value = parse_json(value_);
      if (!value) return fail(Error::bad_input("the value is no JSON (a text needs quotes: '\"yes\"'): " + value.error().message()));
      answer.value = std::move(*value);
    }
    std::string thread;
    if (auto open = open_interrupts_by_thread(*saver)) {
      for (const auto& each : *open) {
        if (each.interrupt.id == id_) thread = each.thread_id;
      }
    }
    CORVID_TRY_STATUS(answer_interrupt(*saver, id_, answer));
    if (session.json) return session.write_json({{"id", id_}, {"decision", action_}, {"by", by_}});
    return session.write_line("noted; corvid graph resume FILE --thread " + (thread.empty() ? "THREAD" : thread) + store_.flags() + " goes on");
  }

 private:
  Status list(Session& session, Checkpointer& saver) {
    CORVID_TRY(const auto open, open_interrupts_by_thread(saver, thread_));
    Json out = Json::array();
    for (const auto& [thread, each] : open) {
      if (session.json) {
        out.push_back({{"id", each.id}, {"thread", thread}, {"node", each.node}, {"value", each.value}, {"response_schema", each.response_schema}, {"asked_at", time_json(each.asked_ms)}, {"expires_at", time_json(each.expires_ms)}});
        continue;
      }
      CORVID_TRY_STATUS(session.write_line(session.bold(each.id) + "  " + thread + "  " + each.node + "  " + dump_json(each.value)));
    }
    return session.json ? session.write_json(out) : Status{};
  }

  Status audit(Session& session, Checkpointer& saver) {
    CORVID_TRY(const auto log, saver.audit());
    CORVID_TRY_STATUS(saver.check_audit());
    Json out = Json::array();
    for (const auto& entry : log) {
      if (session.json) out.push_back({{"seq", entry.seq}, {"at", time_json(entry.at_ms)}, {"by", entry.actor}, {"action", entry.action}, {"id", entry.subject}, {"hash", entry.hash}});
      else CORVID_TRY_STATUS(session.write_line(std::to_string(entry.seq) + "  " + time_json(entry.at_ms).get<std::string>() + "  " + entry.actor + "  " + entry.action + "  " + entry.subject));
    }
    return session.json ? session.write_json(out) : Status{};
  }

  std::string action_, id_, value_, by_, thread_;
  GraphStoreOptions store_;
};

}  // namespace

std::unique_ptr<Command> make_approvals() { return std::make_unique<Approvals>(); }

}  // namespace corvid::cli
