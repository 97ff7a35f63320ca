// A thread as one CBOR item (RFC 8949): ["corvid thread", 1, name, [commit…], digest]. A commit is [ns, checkpoint, blobs, writes,
// answers]; every record is an array of its fields in the header's order. The digest is SHA-256 of all bytes before it.
#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>

#include "corvid/graphs/savers.hpp"
#include "persist/cbor_writer.hpp"
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

// Writer and Reader have the same members, so that fields() tells once what a commit consists of.
class Writer {
 public:
  void list_of(std::size_t n) { out_.list(n); }
  void text(std::string_view s) { out_.text(s); }
  void bytes(std::span<const std::byte> b) { out_.binary(b); }
  void version(std::uint64_t n) { out_.number(n); }
  void number(std::int64_t n) { out_.number(n); }
  void index(std::int32_t n) { out_.number(std::int64_t{n}); }
  template <class Items, class F>
  void each(const Items& items, std::size_t fields, F&& one) {
    list_of(items.size());
    for (const auto& item : items) {
      list_of(fields);
      one(item);
    }
  }
  Bytes take() && { return std::move(out_).take(); }

 private:
  CborWriter out_;
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
  void text(std::string& out) {
    const auto b = take(length(text_string));
    out.assign(reinterpret_cast<const char*>(b.data()), b.size());
  }
  void bytes(Bytes& out) {
    const auto b = take(length(byte_string));
    out.assign(b.begin(), b.end());
  }
  void version(std::uint64_t& out) {
    const auto [major, n] = head();
    if (major != unsigned_integer) refuse();
    out = ok_ ? n : 0;
  }
  void number(std::int64_t& out) {
    const auto [major, n] = head();
    if (major > negative_integer || n > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) refuse();
    out = !ok_ ? 0 : major == negative_integer ? -1 - static_cast<std::int64_t>(n) : static_cast<std::int64_t>(n);
  }
  void index(std::int32_t& out) {
    std::int64_t n = 0;
    number(n);
    if (n != static_cast<std::int32_t>(n)) refuse();
    out = ok_ ? static_cast<std::int32_t>(n) : 0;
  }
  template <class Items, class F>
  void each(Items& items, std::size_t fields, F&& one) {
    for (auto n = list(); n > 0 && ok_; --n) {
      list_of(fields);
      one(items.emplace_back());
    }
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

// Io is a Writer and what it names constant, or a Reader.
template <class Io, class CommitOf>
void fields(Io& io, CommitOf& commit) {
  auto& record = *commit.checkpoint;
  io.list_of(5);
  io.text(commit.ns);
  io.list_of(7);
  io.text(record.id);
  io.text(record.parent_id);
  io.number(record.step);
  io.text(record.source);
  io.number(record.created_ms);
  io.bytes(record.body);
  io.each(record.channels, 2, [&](auto& channel) {
    io.text(channel.channel);
    io.version(channel.version);
  });
  io.each(commit.blobs, 4, [&](auto& blob) {
    io.text(blob.channel);
    io.version(blob.version);
    io.version(blob.base_version);
    io.bytes(blob.bytes);
  });
  io.each(commit.writes, 4, [&](auto& write) {
    io.text(write.task_id);
    io.index(write.index);
    io.text(write.channel);
    io.bytes(write.bytes);
  });
  io.each(commit.answers, 4, [&](auto& answer) {
    io.text(answer.interrupt_id);
    io.text(answer.by);
    io.number(answer.answered_ms);
    io.bytes(answer.body);
  });
}

Commit read(Reader& r) {
  Commit commit;
  commit.checkpoint.emplace();
  fields(r, commit);
  for (auto& write : commit.writes) write.checkpoint_id = commit.checkpoint->id;
  return commit;
}

// The digest as the document's last item.
Bytes digest_item(std::span<const std::byte> of) {
  const auto digest = sha256_of(of);
  CborWriter item;
  item.binary(std::as_bytes(std::span(digest)));
  return std::move(item).take();
}

Error not_an_export(std::string_view why, std::size_t offset) {
  return Error::bad_input("not a thread's export: " + std::string(why) + "; export the thread again").at_offset(offset);
}

}  // namespace

Result<Bytes> export_thread(Checkpointer& saver, std::string_view thread_id) {
  CORVID_TRY(const auto commits, read_thread(saver, thread_id));
  Writer w;
  w.list_of(5);
  w.text(kFormat);
  w.number(kVersion);
  w.text(thread_id);
  w.list_of(commits.size());
  for (const auto& commit : commits) fields(w, commit);
  Bytes out = std::move(w).take();
  const auto digest = digest_item(out);
  out.insert(out.end(), digest.begin(), digest.end());
  return out;
}

Status import_thread(Checkpointer& saver, const Bytes& exported, std::string_view thread_id) {
  CORVID_TRY_STATUS(check_name("a thread's id", thread_id));
  const std::span<const std::byte> all(exported);
  if (all.size() < kDigest) return fail(not_an_export("it ends early", all.size()));
  const auto body = all.first(all.size() - kDigest);
  Reader r(all);
  r.list_of(5);
  std::string text;
  r.text(text);
  if (text != kFormat || !r.ok()) return fail(not_an_export("it does not begin like one", r.offset()));
  std::int64_t version = 0;
  r.number(version);
  if (!r.ok() || version != kVersion) {
    return fail(Error::bad_input("an export of version " + std::to_string(version) + ", this program knows " + std::to_string(kVersion) +
                                 "; update Corvid")
                    .at_offset(r.offset()));
  }
  // Before anything else is believed.
  if (!std::ranges::equal(digest_item(body), all.last(kDigest))) return fail(not_an_export("its digest does not fit, it was cut or changed", body.size()));
  r.text(text);                                     // its name there
  std::vector<Commit> commits;
  for (auto n = r.list(); n > 0 && r.ok(); --n) commits.push_back(read(r));
  Bytes digest;
  r.bytes(digest);
  if (!r.ok() || !r.at_end() || commits.empty()) return fail(not_an_export("its parts do not fit together", r.offset()));
  return write_thread(saver, std::move(commits), thread_id);
}

}  // namespace corvid
