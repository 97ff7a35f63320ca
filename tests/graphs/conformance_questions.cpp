#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "graphs/checkpointer_conformance.hpp"
#include "support/catch.hpp"

namespace corvid::test {
namespace {

InterruptRecord question(std::string id, std::string checkpoint, std::int64_t asked_ms, std::int64_t expires_ms = 0) {
  return {id, "", "", std::move(checkpoint), "task", "node", asked_ms, expires_ms, bytes_of("value of " + id)};
}

Status reply(Checkpointer& saver, std::string_view id, std::string_view by, std::int64_t at = 5'000, std::string_view thread = {}) {
  const AnswerRecord answer{std::string(id), std::string(by), at, bytes_of("yes"), std::string(thread)};
  const AuditRecord audit{0, at, std::string(by), "approve", std::string(id), bytes_of("detail"), "", ""};
  return saver.answer(answer, audit, at);
}

std::string ids(const Result<std::vector<InterruptRecord>>& questions) {
  if (!questions) return questions.error().describe();
  std::string out;
  for (const auto& q : *questions) out += q.id + " ";
  return out;
}

void questions_are_open_until_answered(Checkpointer& saver) {
  auto commit = commit_of("t", "", "a", 1);
  commit.interrupts = {question("q2", "a", 20), question("q1", "a", 10), question("q0", "a", 20)};
  REQUIRE(saver.commit(commit));
  auto sub = commit_of("u", "sub:1", "a", 1);
  sub.interrupts = {question("r", "a", 15)};
  REQUIRE(saver.commit(sub));
  CHECK(ids(saver.open_interrupts()) == "q1 r q0 q2 ");
  CHECK(ids(saver.open_interrupts("t")) == "q1 q0 q2 ");
  CHECK(ids(saver.open_interrupts("nobody")).empty());
  const auto r = saver.open_interrupts("u").value().at(0);
  CHECK(r.thread_id == "u");
  CHECK(r.ns == "sub:1");
  CHECK(r.checkpoint_id == "a");
  CHECK(r.task_id == "task");
  CHECK(r.node == "node");
  CHECK(r.asked_ms == 15);
  CHECK(r.expires_ms == 0);
  CHECK(r.body == bytes_of("value of r"));
  CHECK(saver.threads().value().at(0).open_interrupts == 3);
  auto loaded = saver.get("t", "").value();
  CHECK(loaded->interrupts.size() == 3);
  CHECK(loaded->interrupts.at(0).id == "q1");
  CHECK(loaded->interrupts.at(0).thread_id == "t");
  CHECK(loaded->answers.empty());
  // Asked again, as a task that starts over does: left as it is.
  Commit again;
  again.thread_id = "t";
  again.interrupts = {{"q1", "", "", "a", "task", "other", 99, 0, bytes_of("other")}};
  REQUIRE(saver.commit(again));
  CHECK(saver.open_interrupts("t").value().at(0).node == "node");

  REQUIRE(reply(saver, "q2", "ana"));
  CHECK(ids(saver.open_interrupts("t")) == "q1 q0 ");
  CHECK(saver.threads().value().at(0).open_interrupts == 2);
  loaded = saver.get("t", "").value();
  CHECK(loaded->interrupts.size() == 2);
  REQUIRE(loaded->answers.size() == 1);
  CHECK(loaded->answers[0].interrupt_id == "q2");
  CHECK(loaded->answers[0].by == "ana");
  CHECK(loaded->answers[0].answered_ms == 5'000);
  CHECK(loaded->answers[0].body == bytes_of("yes"));
  // Asking what was answered does not open it again.
  again.interrupts = {question("q2", "a", 20)};
  REQUIRE(saver.commit(again));
  CHECK(ids(saver.open_interrupts("t")) == "q1 q0 ");
  CHECK(saver.get("t", "").value()->answers.size() == 1);

  // Closed with the next checkpoint: the answer stays readable where it was asked.
  auto next = commit_of("t", "", "b", 2);
  next.close_interrupts = {"q2", "q0", "never asked"};
  REQUIRE(saver.commit(next));
  CHECK(ids(saver.open_interrupts("t")) == "q1 ");
  CHECK(saver.get("t", "", "b").value()->interrupts.empty());
  CHECK(saver.get("t", "", "b").value()->answers.empty());
  CHECK(saver.get("t", "", "a").value()->interrupts.size() == 1);
  CHECK(saver.get("t", "", "a").value()->answers.size() == 1);
}

void an_answer_is_given_once(Checkpointer& saver) {
  auto commit = commit_of("t", "", "a", 1);
  commit.interrupts = {question("q", "a", 1), question("late", "a", 1, 4'000), question("closed", "a", 1)};
  REQUIRE(saver.commit(commit));
  Commit close;
  close.thread_id = "t";
  close.close_interrupts = {"closed"};
  REQUIRE(saver.commit(close));

  REQUIRE(reply(saver, "q", "ana"));
  const auto twice = reply(saver, "q", "bob");
  REQUIRE_FALSE(twice);
  CHECK(twice.error().code() == ErrorCode::conflict);
  CHECK(twice.error().describe().find("ana") != std::string::npos);
  close.close_interrupts = {"q"};
  REQUIRE(saver.commit(close));
  const auto after = reply(saver, "q", "bob");
  REQUIRE_FALSE(after);
  CHECK(after.error().code() == ErrorCode::conflict);

  const auto expired = reply(saver, "late", "ana", 4'000);
  REQUIRE_FALSE(expired);
  CHECK(expired.error().code() == ErrorCode::conflict);
  CHECK(expired.error().describe().find("1970-01-01T00:00:04") != std::string::npos);  // when
  REQUIRE(reply(saver, "late", "ana", 3'999));

  for (const auto* id : {"unknown", "closed"}) {
    const auto unknown = reply(saver, id, "ana");
    REQUIRE_FALSE(unknown);
    CHECK(unknown.error().code() == ErrorCode::not_found);
    CHECK(unknown.error().describe().find(id) != std::string::npos);
  }
  CHECK(saver.get("t", "").value()->answers.size() == 2);
  // The audit has those that went through, and no others.
  CHECK(saver.audit()->size() == 2);
}

void expired_questions_are_left_out(Checkpointer& saver) {
  auto commit = commit_of("t", "", "a", 1);
  commit.interrupts = {question("old", "a", 1, 2), question("open", "a", 2, now_ms() + 3'600'000), question("forever", "a", 3)};
  REQUIRE(saver.commit(commit));
  CHECK(ids(saver.open_interrupts()) == "open forever ");
  CHECK(ids(saver.open_interrupts({}, true)) == "old open forever ");
  CHECK(ids(saver.open_interrupts("t", true)) == "old open forever ");
  CHECK(saver.threads().value().at(0).open_interrupts == 2);
  CHECK(saver.get("t", "").value()->interrupts.size() == 3);
}

void two_threads_may_ask_alike(Checkpointer& saver) {
  for (const auto* thread : {"t", "u"}) {
    auto commit = commit_of(thread, "", "a", 1);
    commit.interrupts = {question("q", "a", 1)};
    REQUIRE(saver.commit(commit));
  }
  CHECK(saver.open_interrupts()->size() == 2);
  const auto which = reply(saver, "q", "ana");
  REQUIRE_FALSE(which);
  CHECK(which.error().code() == ErrorCode::conflict);
  REQUIRE(reply(saver, "q", "ana", 5'000, "u"));
  CHECK(saver.open_interrupts("t")->size() == 1);
  CHECK(saver.get("u", "").value()->answers.size() == 1);
  CHECK(saver.get("t", "").value()->answers.empty());
  REQUIRE(reply(saver, "q", "bob"));  // now only one has it open
  CHECK(saver.get("t", "").value()->answers.at(0).by == "bob");
  REQUIRE_FALSE(reply(saver, "q", "carl", 5'000, "nobody"));
}

void sixty_four_answers_at_once(Checkpointer& saver) {
  auto commit = commit_of("t", "", "a", 1);
  for (int i = 0; i < 64; ++i) commit.interrupts.push_back(question("q" + std::to_string(i), "a", i));
  REQUIRE(saver.commit(commit));
  std::vector<int> accepted(4);
  std::vector<std::thread> people;
  for (std::size_t p = 0; p < 4; ++p) {
    people.emplace_back([&, p] {
      for (int i = 0; i < 64; ++i) {
        if (reply(saver, "q" + std::to_string(p % 2 ? i : 63 - i), "p" + std::to_string(p))) ++accepted[p];
      }
    });
  }
  for (auto& person : people) person.join();
  CHECK(accepted[0] + accepted[1] + accepted[2] + accepted[3] == 64);
  CHECK(saver.open_interrupts()->empty());
  CHECK(saver.get("t", "").value()->answers.size() == 64);
  CHECK(saver.audit()->size() == 64);
  CHECK(saver.check_audit());
}

void answers_from_elsewhere(Checkpointer& saver) {
  auto commit = commit_of("t", "sub:1", "a", 1);
  commit.answers = {{"q2", "ana", 7, bytes_of("yes"), ""}, {"q1", "bob", 8, bytes_of("no"), "another thread"}};
  REQUIRE(saver.commit(commit));
  REQUIRE(saver.commit(commit));
  const auto got = saver.get("t", "sub:1").value()->answers;
  REQUIRE(got.size() == 2);
  CHECK(got[0].interrupt_id == "q1");
  CHECK(got[0].body == bytes_of("no"));
  CHECK(got[1].by == "ana");
  CHECK(saver.open_interrupts()->empty());
  CHECK(saver.audit()->empty());
  Commit without;
  without.thread_id = "t";
  without.answers = commit.answers;
  CHECK_FALSE(saver.commit(without));  // asked from where?
}

void the_audit_log_is_a_chain(Checkpointer& saver) {
  for (int i = 0; i < 5; ++i) {
    // What the caller says of seq and hashes does not count.
    REQUIRE(saver.append_audit({99, 1'000 + i, "ana", "edit", "s" + std::to_string(i), bytes_of("d" + std::to_string(i)), "x", "y"}));
  }
  CHECK(saver.check_audit());
  const auto log = saver.audit();
  REQUIRE(log);
  REQUIRE(log->size() == 5);
  CHECK((*log)[0].previous_hash == std::string(64, '0'));
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK((*log)[i].seq == static_cast<std::int64_t>(i) + 1);
    CHECK((*log)[i].at_ms == 1'000 + static_cast<std::int64_t>(i));
    CHECK((*log)[i].subject == "s" + std::to_string(i));
    CHECK((*log)[i].detail == bytes_of("d" + std::to_string(i)));
    CHECK((*log)[i].hash.size() == 64);
    if (i > 0) CHECK((*log)[i].previous_hash == (*log)[i - 1].hash);
  }
  // It outlives the threads it speaks of.
  REQUIRE(saver.commit(commit_of("s1", "", "a", 1)));
  REQUIRE(saver.delete_thread("s1"));
  CHECK(saver.audit()->size() == 5);
  std::vector<std::thread> writers;
  std::vector<int> failed(4);
  for (std::size_t w = 0; w < 4; ++w) {
    writers.emplace_back([&, w] {
      for (int i = 0; i < 10; ++i) failed[w] += saver.append_audit({0, i, "w", "do", "x", {}, "", ""}) ? 0 : 1;
    });
  }
  for (auto& writer : writers) writer.join();
  CHECK(std::count(failed.begin(), failed.end(), 0) == 4);
  CHECK(saver.audit()->size() == 45);
  CHECK(saver.check_audit());
}

void cached_results_expire(Checkpointer& saver) {
  const auto now = now_ms();
  CHECK_FALSE(saver.cache_get("k", now)->has_value());
  REQUIRE(saver.cache_put("k", bytes_of("v"), 0));
  REQUIRE(saver.cache_put("k'\"|", bytes_of(""), now + 60'000));
  CHECK(saver.cache_get("k", now + 1'000'000'000)->value() == bytes_of("v"));
  CHECK(saver.cache_get("k'\"|", now + 59'999)->value().empty());
  CHECK_FALSE(saver.cache_get("k'\"|", now + 60'000)->has_value());
  CHECK_FALSE(saver.cache_get("K", now)->has_value());
  REQUIRE(saver.cache_put("k", bytes_of("newer"), now + 100'000));
  CHECK(saver.cache_get("k", now)->value() == bytes_of("newer"));
  CHECK_FALSE(saver.cache_get("k", now + 100'000)->has_value());
}

}  // namespace

void check_questions(const MakeSaver& make_empty) {
  questions_are_open_until_answered(*make_empty());
  an_answer_is_given_once(*make_empty());
  expired_questions_are_left_out(*make_empty());
  two_threads_may_ask_alike(*make_empty());
  sixty_four_answers_at_once(*make_empty());
  answers_from_elsewhere(*make_empty());
  the_audit_log_is_a_chain(*make_empty());
  cached_results_expire(*make_empty());
}

}  // namespace corvid::test
