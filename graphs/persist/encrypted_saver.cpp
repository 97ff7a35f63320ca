// EncryptedSaver: AES-256-GCM (NIST SP 800-38D) around another store's byte strings.
//
// A stored value is "CVE", version 1, the key's id [8], nonce [12], ciphertext, tag [16]. What is authenticated with it: those first 12
// bytes, and its place: every name and number that says where the row belongs, length-prefixed. The nonce is random, so one key is good
// for 2^32 values (SP 800-38D, 8.3).
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include "corvid/base/hash.hpp"
#include "corvid/graphs/savers.hpp"
#include "persist/rules.hpp"
#include "persist/transfer.hpp"

namespace corvid {
namespace {

using namespace persist;

constexpr std::size_t kKeyId = 8, kHead = 4 + kKeyId, kNonce = 12, kTag = 16;

class Place {
 public:
  explicit Place(std::string_view kind) { add(kind); }
  Place& add(std::string_view text) {
    add(static_cast<std::int64_t>(text.size()));
    bytes_ += text;
    return *this;
  }
  Place& add(std::int64_t number) {
    for (int i = 0; i < 8; ++i) bytes_ += static_cast<char>(static_cast<std::uint64_t>(number) >> (8 * i));
    return *this;
  }
  Place& add(std::uint64_t number) { return add(static_cast<std::int64_t>(number)); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

Place place_of(std::string_view thread, std::string_view ns, const CheckpointRecord& r) {
  Place place("checkpoint");
  place.add(thread).add(ns).add(r.id).add(r.parent_id).add(r.step).add(r.source).add(r.created_ms).add(std::uint64_t{r.channels.size()});
  for (const auto& channel : r.channels) place.add(channel.channel).add(channel.version);
  return place;
}

Place place_of(std::string_view thread, std::string_view ns, const ChannelBlob& b) {
  return Place("blob").add(thread).add(ns).add(b.channel).add(b.version).add(b.base_version);
}

Place place_of(std::string_view thread, std::string_view ns, const PendingWrite& w) {
  return Place("write").add(thread).add(ns).add(w.checkpoint_id).add(w.task_id).add(std::int64_t{w.index}).add(w.channel);
}

Place place_of(std::string_view thread, std::string_view ns, const InterruptRecord& q) {
  return Place("interrupt").add(thread).add(ns).add(q.id).add(q.checkpoint_id).add(q.task_id).add(q.node).add(q.asked_ms).add(q.expires_ms);
}

// Whoever answers may not know the thread; the question's id stands for it.
Place place_of(const AnswerRecord& a) { return Place("answer").add(a.interrupt_id).add(a.by).add(a.answered_ms); }

// Its position is the hash chain's business.
Place place_of(const AuditRecord& a) { return Place("audit").add(a.at_ms).add(a.actor).add(a.action).add(a.subject); }

using Context = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

const unsigned char* raw(const std::byte* bytes) { return reinterpret_cast<const unsigned char*>(bytes); }
unsigned char* raw(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }

class Sealer {
 public:
  explicit Sealer(const EncryptionKey& key) : key_(key) {
    Sha256 hash;
    hash.update("corvid encryption key id");
    hash.update(key_);
    const auto digest = hash.finish();
    head_ = {std::byte{'C'}, std::byte{'V'}, std::byte{'E'}, std::byte{1}};
    std::transform(digest.begin(), digest.begin() + kKeyId, head_.begin() + 4, [](std::uint8_t b) { return std::byte{b}; });
  }
  ~Sealer() { OPENSSL_cleanse(key_.data(), key_.size()); }
  Sealer(const Sealer&) = delete;
  Sealer& operator=(const Sealer&) = delete;

  Status seal(const Place& place, Bytes& value) const {
    Bytes out(kHead + kNonce + value.size() + kTag);
    std::copy(head_.begin(), head_.end(), out.begin());
    std::byte* nonce = out.data() + kHead;
    std::byte* text = nonce + kNonce;
    int n = 0;
    const auto context = make_context();
    // EVP takes lengths as int.
    if (value.size() > std::size_t{1} << 30)
      return fail(Error::limit_exceeded("a value of more than 1 GiB cannot be encrypted; split it over channels"));
    if (RAND_bytes(raw(nonce), kNonce) != 1 ||
        EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, raw(key_.data()), raw(nonce)) != 1 ||
        !authenticate<EVP_EncryptUpdate>(context.get(), place) ||
        EVP_EncryptUpdate(context.get(), raw(text), &n, raw(value.data()), static_cast<int>(value.size())) != 1 ||
        EVP_EncryptFinal_ex(context.get(), raw(text + value.size()), &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, kTag, out.data() + out.size() - kTag) != 1) {
      return fail(Error::internal("OpenSSL could not encrypt a value"));
    }
    value = std::move(out);
    return {};
  }

  // `key` is the row's own name: what an error names as its place.
  Status open(const Place& place, Bytes& value, std::string_view what, std::string_view key) const {
    const auto refuse = [&](std::string_view why) {
      return fail(Error::bad_input(std::string(what) + " " + std::string(why)).at_key(std::string(key)));
    };
    if (value.size() < kHead + kNonce + kTag || !std::equal(head_.begin(), head_.begin() + 3, value.begin())) {
      return refuse(
          "is not encrypted, and this store takes nothing in plain text; open it without a key, or export and import it with one");
    }
    if (value[3] != head_[3]) return refuse("is encrypted in a way that this version does not know; update Corvid");
    if (!std::equal(head_.begin() + 4, head_.end(), value.begin() + 4))
      return refuse("is encrypted with another key; use the key it was written with");
    const std::byte* nonce = value.data() + kHead;
    const std::byte* text = nonce + kNonce;
    const std::size_t size = value.size() - kHead - kNonce - kTag;
    Bytes out(size);
    int n = 0;
    const auto context = make_context();
    if (size > std::size_t{1} << 30 || EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, raw(key_.data()), raw(nonce)) != 1 ||
        !authenticate<EVP_DecryptUpdate>(context.get(), place) ||
        EVP_DecryptUpdate(context.get(), raw(out.data()), &n, raw(text), static_cast<int>(size)) != 1 ||
        EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, kTag, value.data() + value.size() - kTag) != 1) {
      return fail(Error::internal("OpenSSL could not decrypt a value"));
    }
    unsigned char rest[kTag];
    if (EVP_DecryptFinal_ex(context.get(), rest, &n) != 1) {
      return refuse("does not belong where it is, or was changed; restore the store from a copy");
    }
    value = std::move(out);
    return {};
  }

 private:
  static Context make_context() {
    Context context(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
    if (!context) throw std::bad_alloc();
    return context;
  }

  template <auto Update>
  bool authenticate(EVP_CIPHER_CTX* context, const Place& place) const {
    int n = 0;
    const auto& where = place.bytes();
    return Update(context, nullptr, &n, raw(head_.data()), kHead) == 1 &&
           Update(context, nullptr, &n, reinterpret_cast<const unsigned char*>(where.data()), static_cast<int>(where.size())) == 1;
  }

  EncryptionKey key_;
  std::array<std::byte, kHead> head_{};
};

class EncryptedSaver final : public Checkpointer {
 public:
  EncryptedSaver(std::shared_ptr<Checkpointer> inner, const EncryptionKey& key) : inner_(std::move(inner)), sealer_(key) {}

  std::string_view name() const noexcept override { return inner_->name(); }
  bool blocks() const noexcept override { return inner_->blocks(); }

  Status commit(const Commit& plain) override {
    // Before anything is encrypted: the inner store would check it too, but too late for a clear message.
    CORVID_TRY_STATUS(check_commit(plain));
    Commit commit = plain;
    if (commit.checkpoint)
      CORVID_TRY_STATUS(sealer_.seal(place_of(commit.thread_id, commit.ns, *commit.checkpoint), commit.checkpoint->body));
    for (auto& blob : commit.blobs) CORVID_TRY_STATUS(sealer_.seal(place_of(commit.thread_id, commit.ns, blob), blob.bytes));
    for (auto& write : commit.writes) CORVID_TRY_STATUS(sealer_.seal(place_of(commit.thread_id, commit.ns, write), write.bytes));
    for (auto& asked : commit.interrupts) CORVID_TRY_STATUS(sealer_.seal(place_of(commit.thread_id, commit.ns, asked), asked.body));
    for (auto& answer : commit.answers) CORVID_TRY_STATUS(sealer_.seal(place_of(answer), answer.body));
    return inner_->commit(commit);
  }

  Result<std::optional<LoadedCheckpoint>> get(std::string_view thread_id, std::string_view ns, std::string_view id) override {
    CORVID_TRY(auto loaded, inner_->get(thread_id, ns, id));
    if (!loaded) return loaded;
    CORVID_TRY_STATUS(open(thread_id, ns, loaded->record));
    for (auto& blob : loaded->blobs) {
      CORVID_TRY_STATUS(sealer_.open(place_of(thread_id, ns, blob), blob.bytes,
                                     "version " + std::to_string(blob.version) + " of channel '" + blob.channel + "'", "channel " + blob.channel));
    }
    for (auto& write : loaded->writes)
      CORVID_TRY_STATUS(sealer_.open(place_of(thread_id, ns, write), write.bytes, "a pending write of task " + write.task_id, "task " + write.task_id));
    for (auto& asked : loaded->interrupts)
      CORVID_TRY_STATUS(sealer_.open(place_of(thread_id, ns, asked), asked.body, "question " + asked.id, "question " + asked.id));
    for (auto& answer : loaded->answers)
      CORVID_TRY_STATUS(sealer_.open(place_of(answer), answer.body, "the answer to " + answer.interrupt_id, "question " + answer.interrupt_id));
    return loaded;
  }

  Result<std::vector<CheckpointRecord>> list(std::string_view thread_id, std::string_view ns, const ListOptions& options) override {
    CORVID_TRY(auto records, inner_->list(thread_id, ns, options));
    for (auto& record : records) CORVID_TRY_STATUS(open(thread_id, ns, record));
    return records;
  }

  Result<std::vector<std::string>> namespaces(std::string_view thread_id) override { return inner_->namespaces(thread_id); }
  Result<std::vector<ThreadInfo>> threads() override { return inner_->threads(); }

  Result<std::vector<InterruptRecord>> open_interrupts(std::string_view thread_id, bool with_expired) override {
    CORVID_TRY(auto open, inner_->open_interrupts(thread_id, with_expired));
    for (auto& asked : open)
      CORVID_TRY_STATUS(sealer_.open(place_of(asked.thread_id, asked.ns, asked), asked.body, "question " + asked.id, "question " + asked.id));
    return open;
  }

  Status answer(const AnswerRecord& plain, const AuditRecord& plain_audit, std::int64_t now_ms) override {
    AnswerRecord answer = plain;
    AuditRecord audit = plain_audit;
    CORVID_TRY_STATUS(sealer_.seal(place_of(answer), answer.body));
    CORVID_TRY_STATUS(sealer_.seal(place_of(audit), audit.detail));
    return inner_->answer(answer, audit, now_ms);
  }

  Status append_audit(const AuditRecord& plain) override {
    AuditRecord entry = plain;
    CORVID_TRY_STATUS(sealer_.seal(place_of(entry), entry.detail));
    return inner_->append_audit(entry);
  }

  Result<std::vector<AuditRecord>> audit() override {
    CORVID_TRY(auto log, inner_->audit());
    for (auto& entry : log) CORVID_TRY_STATUS(sealer_.open(place_of(entry), entry.detail, "audit entry " + std::to_string(entry.seq), "audit entry " + std::to_string(entry.seq)));
    return log;
  }

  Status check_audit() override { return inner_->check_audit(); }
  Status lease(std::string_view thread_id, const LeaseChange& change) override { return inner_->lease(thread_id, change); }
  Status delete_thread(std::string_view thread_id) override { return inner_->delete_thread(thread_id); }

  // Rows are bound to their thread, so a copy is encrypted anew: in several commits, and sharing nothing.
  Status copy_thread(std::string_view from, std::string_view to) override {
    CORVID_TRY(auto commits, read_thread(*this, from));
    return write_thread(*this, std::move(commits), to);
  }

  Result<std::size_t> prune(std::string_view thread_id, const PruneOptions& options) override { return inner_->prune(thread_id, options); }

  Result<std::optional<Bytes>> cache_get(std::string_view key, std::int64_t now_ms) override {
    CORVID_TRY(auto value, inner_->cache_get(key, now_ms));
    if (value) CORVID_TRY_STATUS(sealer_.open(Place("cache").add(key), *value, "cached result '" + std::string(key) + "'", key));
    return value;
  }

  Status cache_put(std::string_view key, const Bytes& plain, std::int64_t expires_ms) override {
    Bytes value = plain;
    CORVID_TRY_STATUS(sealer_.seal(Place("cache").add(key), value));
    return inner_->cache_put(key, value, expires_ms);
  }

 private:
  Status open(std::string_view thread_id, std::string_view ns, CheckpointRecord& record) const {
    return sealer_.open(place_of(thread_id, ns, record), record.body,
                        "checkpoint " + record.id + " of thread '" + std::string(thread_id) + "'", "checkpoint " + record.id);
  }

  std::shared_ptr<Checkpointer> inner_;
  Sealer sealer_;
};

}  // namespace

std::shared_ptr<Checkpointer> encrypt(std::shared_ptr<Checkpointer> inner, const EncryptionKey& key) {
  return std::make_shared<EncryptedSaver>(std::move(inner), key);
}

}  // namespace corvid
