// A thread as one CBOR item (RFC 8949): ["corvid thread", 1, name, [commit…], digest]. A commit is [ns, checkpoint, blobs, writes,
// answers]; every record is an array of its fields in the header's order. The digest is SHA-256 of all bytes before it.
#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>

#include "corvid/graphs/savers.hpp"
#include "persist/rows.hpp"
#include "persist/rules.hpp"
#include "persist/transfer.hpp"

namespace corvid {
namespace {

using namespace persist;

constexpr std::string_view kFormat = "corvid thread";
constexpr std::int64_t kVersion = 1;
constexpr std::size_t kDigest = 2 + 32;  // the byte string's head and its bytes

enum Major : std::uint8_t { unsigned_integer = 0, negative_integer = 1, byte_string = 2, text_string = 3, array = 4 };

class Writer {
 public:
  void head(Major major, std::uint64_t n) {
    const int size = n < 24 ? 0 : n <= 0xff ? 1 : n <= 0xffff ? 2 : n <= 0xffffffff ? 4 : 8;
    const std::uint64_t info = size == 0 ? n : size == 1 ? 24 : size == 2 ? 25 : size == 4 ? 26 : 27;
    out_.push_back(static_cast<std::byte>(std::uint64_t{major} << 5 | info));
    for (int i = size; i-- > 0;) out_.push_back(static_cast<std::byte>(n >> (8 * i)));
  }
  void list(std::size_t n) { head(array, n); }
  void number(std::int64_t n) {
    n < 0 ? head(negative_integer, static_cast<std::uint64_t>(-1 - n)) : head(unsigned_integer, static_cast<std::uint64_t>(n));
  }
  void version(std::uint64_t n) { head(unsigned_integer, n); }
  void text(std::string_view s) { append(text_string, std::as_bytes(std::span(s))); }
  void bytes(std::span<const std::byte> b) { append(byte_string, b); }
  Bytes& out() { return out_; }

 private:
  void append(Major major, std::span<const std::byte> b) {
    head(major, b.size());
    out_.insert(out_.end(), b.begin(), b.end());
  }
  Bytes out_;
};

// Reads what Writer wrote. The first thing that does not fit ends it: what follows is zeros, and ok() is false. A length is believed
// only where that many bytes are left, so nothing is allocated that the document does not pay for.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> in) : in_(in), size_(in.size()) {}
  bool ok() const { return ok_; }
  /// Of the first thing that does not fit, or of the next one.
  std::size_t offset() const { return ok_ ? size_ - in_.size() : failed_at_; }
  bool at_end() const { return in_.empty(); }

  std::size_t list() { return static_cast<std::size_t>(length(array)); }
  void list_of(std::size_t n) {
    if (list() != n) refuse();
  }
  std::string text() {
    const auto b = take(length(text_string));
    return std::string(reinterpret_cast<const char*>(b.data()), b.size());
  }
  Bytes bytes() {
    const auto b = take(length(byte_string));
    return Bytes(b.begin(), b.end());
  }
  std::uint64_t version() {
    const auto [major, n] = head();
    if (major != unsigned_integer) refuse();
    return ok_ ? n : 0;
  }
  std::int64_t number() {
    const auto [major, n] = head();
    if (major > negative_integer || n > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) refuse();
    if (!ok_) return 0;
    return major == negative_integer ? -1 - static_cast<std::int64_t>(n) : static_cast<std::int64_t>(n);
  }
  std::int32_t index() {
    const auto n = number();
    if (n != static_cast<std::int32_t>(n)) refuse();
    return ok_ ? static_cast<std::int32_t>(n) : 0;
  }

 private:
  std::span<const std::byte> take(std::uint64_t n) {
    if (!ok_ || n > in_.size()) {
      refuse();
      return {};
    }
    const auto taken = in_.first(static_cast<std::size_t>(n));
    in_ = in_.subspan(static_cast<std::size_t>(n));
    return taken;
  }
  std::pair<std::uint8_t, std::uint64_t> head() {
    const auto first = take(1);
    if (first.empty()) return {};
    const auto byte = static_cast<std::uint8_t>(first[0]);
    std::uint64_t n = byte & 31;
    if (n > 27) refuse();  // indefinite lengths are not written
    if (n >= 24 && ok_) {
      const auto more = take(std::uint64_t{1} << (n - 24));
      n = 0;
      for (const auto b : more) n = n << 8 | static_cast<std::uint64_t>(b);
    }
    return {static_cast<std::uint8_t>(byte >> 5), n};
  }
  std::uint64_t length(Major major) {
    const auto [found, n] = head();
    if (found != major || n > in_.size()) refuse();
    return ok_ ? n : 0;
  }

  void refuse() {
    if (ok_) failed_at_ = size_ - in_.size();
    ok_ = false;
  }

  std::span<const std::byte> in_;
  std::size_t size_, failed_at_ = 0;
  bool ok_ = true;
};

void write(Writer& w, const Commit& commit) {
  const auto& record = *commit.checkpoint;
  w.list(5);
  w.text(commit.ns);
  w.list(7);
  w.text(record.id);
  w.text(record.parent_id);
  w.number(record.step);
  w.text(record.source);
  w.number(record.created_ms);
  w.bytes(record.body);
  w.list(record.channels.size());
  for (const auto& channel : record.channels) {
    w.list(2);
    w.text(channel.channel);
    w.version(channel.version);
  }
  w.list(commit.blobs.size());
  for (const auto& blob : commit.blobs) {
    w.list(4);
    w.text(blob.channel);
    w.version(blob.version);
    w.version(blob.base_version);
    w.bytes(blob.bytes);
  }
  w.list(commit.writes.size());
  for (const auto& pending : commit.writes) {
    w.list(4);
    w.text(pending.task_id);
    w.number(pending.index);
    w.text(pending.channel);
    w.bytes(pending.bytes);
  }
  w.list(commit.answers.size());
  for (const auto& answer : commit.answers) {
    w.list(4);
    w.text(answer.interrupt_id);
    w.text(answer.by);
    w.number(answer.answered_ms);
    w.bytes(answer.body);
  }
}

// Braces fix the order in which the fields are read.
Commit read(Reader& r) {
  Commit commit;
  r.list_of(5);
  commit.ns = r.text();
  r.list_of(7);
  auto& record = commit.checkpoint.emplace();
  record.id = r.text();
  record.parent_id = r.text();
  record.step = r.number();
  record.source = r.text();
  record.created_ms = r.number();
  record.body = r.bytes();
  for (auto n = r.list(); n > 0 && r.ok(); --n) {
    r.list_of(2);
    record.channels.push_back(ChannelVersion{r.text(), r.version()});
  }
  for (auto n = r.list(); n > 0 && r.ok(); --n) {
    r.list_of(4);
    commit.blobs.push_back(ChannelBlob{r.text(), r.version(), r.version(), r.bytes()});
  }
  for (auto n = r.list(); n > 0 && r.ok(); --n) {
    r.list_of(4);
    commit.writes.push_back(PendingWrite{record.id, r.text(), r.index(), r.text(), r.bytes()});
  }
  for (auto n = r.list(); n > 0 && r.ok(); --n) {
    r.list_of(4);
    commit.answers.push_back(AnswerRecord{r.text(), r.text(), r.number(), r.bytes(), {}});
  }
  return commit;
}

Error not_an_export(std::string_view why, std::size_t offset) {
  return Error::bad_input("not a thread's export: " + std::string(why) + "; export the thread again").at_offset(offset);
}

}  // namespace

Result<Bytes> export_thread(Checkpointer& saver, std::string_view thread_id) {
  CORVID_TRY(const auto commits, read_thread(saver, thread_id));
  Writer w;
  w.list(5);
  w.text(kFormat);
  w.number(kVersion);
  w.text(thread_id);
  w.list(commits.size());
  for (const auto& commit : commits) write(w, commit);
  const auto digest = sha256_of(w.out());
  w.bytes(std::as_bytes(std::span(digest)));
  return std::move(w.out());
}

Status import_thread(Checkpointer& saver, const Bytes& exported, std::string_view thread_id) {
  CORVID_TRY_STATUS(check_name("a thread's id", thread_id));
  const std::span<const std::byte> all(exported);
  if (all.size() < kDigest) return fail(not_an_export("it ends early", all.size()));
  const auto body = all.first(all.size() - kDigest);
  Reader r(all);
  r.list_of(5);
  if (r.text() != kFormat || !r.ok()) return fail(not_an_export("it does not begin like one", r.offset()));
  const auto version = r.number();
  if (!r.ok() || version != kVersion) {
    return fail(Error::bad_input("an export of version " + std::to_string(version) + ", this program knows " + std::to_string(kVersion) +
                                 "; update Corvid")
                    .at_offset(r.offset()));
  }
  // Before anything else is believed.
  Writer expected;
  const auto digest = sha256_of(body);
  expected.bytes(std::as_bytes(std::span(digest)));
  if (!std::ranges::equal(expected.out(), all.last(kDigest))) return fail(not_an_export("its digest does not fit, it was cut or changed", body.size()));
  (void)r.text();
  std::vector<Commit> commits;
  for (auto n = r.list(); n > 0 && r.ok(); --n) commits.push_back(read(r));
  (void)r.bytes();
  if (!r.ok() || !r.at_end() || commits.empty()) return fail(not_an_export("its parts do not fit together", r.offset()));
  return write_thread(saver, std::move(commits), thread_id);
}

}  // namespace corvid
