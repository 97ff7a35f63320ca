#include "persist/rules.hpp"

#include <chrono>
#include <ctime>

namespace corvid::persist {
namespace {

std::string in_quotes(std::string_view name) { return "'" + std::string(name) + "'"; }

// "29.5 s": a lease's rest is looked at by people, who wait for it.
std::string seconds_text(std::int64_t ms) { return std::to_string(ms / 1000) + "." + std::to_string(ms % 1000 / 100) + " s"; }

Error invalid(std::string text, std::string_view thread_id) {
  return Error::invalid_argument(std::move(text)).at_key(std::string(thread_id));
}

Error lease_lost(const LeaseState& held, const LeaseChange& change, std::string_view thread_id, std::int64_t now_ms) {
  std::string text = "the lease of thread " + in_quotes(thread_id) + " is no longer " + in_quotes(change.owner) + "'s: ";
  if (held.owner.empty())
    text += "it was given back, or the thread was deleted";
  else if (held.expires_ms > now_ms)
    text += in_quotes(held.owner) + " holds it for another " + seconds_text(held.expires_ms - now_ms);
  else
    text += in_quotes(held.owner) + " took it over";
  return Error::conflict(text + "; end this run, the thread's state is the other's");
}

}  // namespace

std::int64_t system_now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string utc_text(std::int64_t unix_ms) {
  const std::time_t seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm parts{};
  char text[64];
  if (!gmtime_r(&seconds, &parts) || std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
    return std::to_string(unix_ms) + " ms";
  return text;
}

Status check_name(std::string_view what, std::string_view name, bool may_be_empty) {
  if (name.empty() && !may_be_empty) return fail(Error::invalid_argument(std::string(what) + " is empty; give it a name"));
  if (name.find('\0') != std::string_view::npos) {
    return fail(Error::invalid_argument(std::string(what) + " has a NUL byte in it; use a name without").at_key(std::string(name)));
  }
  return {};
}

Status check_lease(const LeaseChange& change) {
  using Kind = LeaseChange::Kind;
  if (change.kind != Kind::none) CORVID_TRY_STATUS(check_name("a lease's owner", change.owner));
  if ((change.kind == Kind::acquire || change.kind == Kind::keep) && change.ttl_ms <= 0) {
    return fail(
        Error::invalid_argument("a lease of " + std::to_string(change.ttl_ms) + " ms; give it a positive time").at_key(change.owner));
  }
  return {};
}

Status check_commit(const Commit& commit) {
  CORVID_TRY_STATUS(check_name("a thread's id", commit.thread_id));
  CORVID_TRY_STATUS(check_name("a namespace", commit.ns, true));
  CORVID_TRY_STATUS(check_lease(commit.lease));
  if (commit.checkpoint) {
    CORVID_TRY_STATUS(check_name("a checkpoint's id", commit.checkpoint->id));
    CORVID_TRY_STATUS(check_name("a checkpoint's parent", commit.checkpoint->parent_id, true));
    CORVID_TRY_STATUS(check_name("a checkpoint's source", commit.checkpoint->source, true));
    for (const auto& channel : commit.checkpoint->channels) CORVID_TRY_STATUS(check_name("a channel", channel.channel));
  }
  for (const auto& blob : commit.blobs) {
    CORVID_TRY_STATUS(check_name("a channel", blob.channel));
    // Bases that only go down make every chain end.
    if (blob.version == 0 || blob.base_version >= blob.version) {
      return fail(invalid("version " + std::to_string(blob.version) + " of channel " + in_quotes(blob.channel) + " on version " +
                              std::to_string(blob.base_version) + "; versions start at 1 and a delta's base is an earlier one",
                          commit.thread_id));
    }
  }
  for (const auto& write : commit.writes) {
    CORVID_TRY_STATUS(check_name("a write's checkpoint", write.checkpoint_id));
    CORVID_TRY_STATUS(check_name("a write's task", write.task_id));
    CORVID_TRY_STATUS(check_name("a write's channel", write.channel, true));
  }
  for (const auto& question : commit.interrupts) {
    CORVID_TRY_STATUS(check_name("an interrupt's id", question.id));
    CORVID_TRY_STATUS(check_name("an interrupt's checkpoint", question.checkpoint_id, true));
    CORVID_TRY_STATUS(check_name("an interrupt's task", question.task_id, true));
    CORVID_TRY_STATUS(check_name("an interrupt's node", question.node, true));
  }
  for (const auto& answer : commit.answers) {
    CORVID_TRY_STATUS(check_name("an answer's interrupt", answer.interrupt_id));
    CORVID_TRY_STATUS(check_name("an answer's author", answer.by));
    if (!commit.checkpoint) {
      return fail(
          invalid("answers from elsewhere without the checkpoint from which they were asked; add it to the commit", commit.thread_id));
    }
  }
  return {};
}

Result<LeaseState> change_lease(const LeaseState& held, const LeaseChange& change, std::string_view thread_id, std::int64_t now_ms) {
  using Kind = LeaseChange::Kind;
  const bool own = held.owner == change.owner;
  switch (change.kind) {
    case Kind::none:
      if (!change.owner.empty() && !own) return fail(lease_lost(held, change, thread_id, now_ms));
      return held;
    case Kind::acquire:
      if (!own && !held.owner.empty() && held.expires_ms > now_ms) {
        return fail(Error::conflict("thread " + in_quotes(thread_id) + " is run by " + in_quotes(held.owner) + ", whose lease lasts another " +
                                    seconds_text(held.expires_ms - now_ms) + "; wait for its end, or use another thread"));
      }
      return LeaseState{change.owner, now_ms + change.ttl_ms};
    case Kind::keep:
      if (!own) return fail(lease_lost(held, change, thread_id, now_ms));
      return LeaseState{change.owner, now_ms + change.ttl_ms};
    case Kind::release:
      if (!own) return fail(lease_lost(held, change, thread_id, now_ms));
      return LeaseState{};
  }
  return fail(Error::invalid_argument("an unknown kind of lease change"));
}

Error answered_already(std::string_view interrupt_id, std::string_view by, std::int64_t answered_ms) {
  return Error::conflict("the question was answered by " + in_quotes(by) + " at " + utc_text(answered_ms) + "; the first answer stands")
      .at_key(std::string(interrupt_id));
}

Error question_expired(std::string_view interrupt_id, std::int64_t expires_ms) {
  return Error::conflict("the question expired at " + utc_text(expires_ms) + "; run the thread again to have it asked anew")
      .at_key(std::string(interrupt_id));
}

Error no_open_question(std::string_view interrupt_id) {
  return Error::not_found("no open question has this id; list the open ones").at_key(std::string(interrupt_id));
}

Error asked_by_several(std::string_view interrupt_id) {
  return Error::conflict("several threads have a question of this id open; name the thread").at_key(std::string(interrupt_id));
}

Error not_latest(std::string_view thread_id, std::string_view expected, std::string_view newest) {
  return Error::conflict("the thread " + in_quotes(thread_id) + " has gone on elsewhere: its newest checkpoint is " + in_quotes(newest) + ", not " + in_quotes(expected) +
                         "; load it again");
}

Error broken_chain(std::string_view thread_id, std::string_view ns, std::string_view channel, std::uint64_t version) {
  return Error::bad_input("version " + std::to_string(version) + " of channel " + in_quotes(channel) + " of thread " + in_quotes(thread_id) +
                          (ns.empty() ? "" : ", namespace " + in_quotes(ns)) +
                          ", is missing; go on from an earlier checkpoint, or restore the store from a copy")
      .at_key(std::string(channel));
}

Error no_thread(std::string_view thread_id) {
  return Error::not_found("no thread has this id; list the threads").at_key(std::string(thread_id));
}

Error thread_exists(std::string_view thread_id) {
  return Error::conflict("a thread of this id exists; delete it first, or use another id").at_key(std::string(thread_id));
}

}  // namespace corvid::persist
