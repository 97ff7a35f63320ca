#include "corvid/embed/text_embedder.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <numeric>
#include <optional>
#include <utility>

#include "bert_model.hpp"
#include "corvid/base/hash.hpp"
#include "corvid/compute/buffer.hpp"
#include "corvid/compute/stream.hpp"
#include "corvid/text/unicode.hpp"
#include "pooling_config.hpp"

namespace corvid {
namespace {

// Rows of one forward pass, where the caller does not say.
constexpr std::uint32_t kBatchTokens = 4096, kDeviceBatchTokens = 16384;
// Many texts on the CPU: each thread takes groups of about this many rows through all layers on its own. No thread waits for another, and a
// group's states stay in the second cache.
constexpr std::size_t kGroupTokens = 256;
// Groups a thread gets before the pool may serve somebody else: some tens of milliseconds.
constexpr std::size_t kGroupsPerTurn = 8;

class BertEmbedder final : public TextEmbedder {
 public:
  BertEmbedder(Runtime& runtime, std::filesystem::path folder, const EmbedderOptions& options, std::shared_ptr<const Tokenizer> tokenizer,
               embed::BertModel model, embed::SentenceConfig config, std::string identity, std::size_t specials, DeviceAccess access, Buffer scratch)
      : runtime_(runtime), folder_(std::move(folder)), options_(options), tokenizer_(std::move(tokenizer)), model_(std::move(model)),
        config_(config), identity_(std::move(identity)), specials_(specials),
        access_(std::move(access)), scratch_(std::move(scratch)) {}

  Result<EmbedResult> embed(std::span<const std::string_view> texts, const CancellationToken& cancellation,
                            const ProgressSink& progress) override {
    EmbedResult result;
    result.values.resize(texts.size() * dimension());
    result.cut.resize(texts.size());
    CORVID_TRY(const auto ids, tokenise(texts, cancellation, result));
    // Longest first: texts of a batch are alike, and the largest scratch comes at the start.
    std::vector<std::size_t> order(texts.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return ids[a].size() > ids[b].size(); });
    std::size_t rows = 0;
    for (const auto& one : ids) rows += one.size();
    const auto threads = static_cast<std::size_t>(runtime_.pool().threads());
    const bool alone = options_.device.is_cpu() && rows >= threads * kGroupTokens && texts.size() >= 2 * threads;
    const std::vector<Group> groups = grouped(ids, order, alone ? std::min<std::size_t>(kGroupTokens, options_.max_batch_tokens) : options_.max_batch_tokens);
    if (alone && threads > 1) {
      CORVID_TRY_STATUS(run_groups(ids, groups, cancellation, progress, result));
      return result;
    }
    OpContext ctx = context();
    ctx.pool = &runtime_.pool();
    std::size_t done = 0;
    for (const Group& group : groups) {
      CORVID_TRY_STATUS(cancellation.check());
      // On the CPU each call has scratch of its own; a device has one planned piece, and its calls take turns.
      if (options_.device.is_cpu()) {
        CORVID_TRY(const Buffer own, allocate(ctx, model_.scratch_bytes(group.rows), runtime_.memory(), "scratch"));
        CORVID_TRY_STATUS(run(ctx, ids, group, own, cancellation, result));
      } else {
        const std::unique_lock<std::mutex> turn(device_mutex_);
        CORVID_TRY_STATUS(run(ctx, ids, group, scratch_, cancellation, result));
      }
      done += group.texts.size();
      if (progress) progress({"embed", done, order.size(), {}});
    }
    return result;
  }

  std::uint32_t dimension() const noexcept override { return static_cast<std::uint32_t>(model_.shape().width); }
  std::uint32_t max_tokens() const noexcept override { return config_.max_tokens; }
  const std::shared_ptr<const Tokenizer>& tokenizer() const noexcept override { return tokenizer_; }
  const std::string& identity() const noexcept override { return identity_; }
  const std::filesystem::path& folder() const noexcept override { return folder_; }

 private:
  using Ids = std::vector<std::vector<TokenId>>;

  Result<Ids> tokenise(std::span<const std::string_view> texts, const CancellationToken& cancellation, EmbedResult& result) const {
    Ids ids(texts.size());
    std::vector<std::optional<Error>> errors(texts.size());
    std::atomic<bool> stop{false};
    const auto body = [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end && !stop; ++i) {
        if (!cancellation.check()) { stop = true; break; }
        auto encoded = encode(texts[i]);
        if (encoded) ids[i] = std::move(*encoded);
        else errors[i] = std::move(encoded).error();
      }
    };
    runtime_.pool().parallel_for(texts.size(), 8, body);
    CORVID_TRY_STATUS(cancellation.check());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (errors[i]) return fail(Error::bad_input("text " + std::to_string(i) + " of " + std::to_string(texts.size()) + " cannot be embedded").caused_by(*errors[i]));
      if (ids[i].size() > config_.max_tokens) {
        // The closing specials stay: the first tokens of the text, then [SEP].
        const std::size_t closing = specials_ > 0 ? specials_ - 1 : 0;
        ids[i].erase(ids[i].begin() + static_cast<std::ptrdiff_t>(config_.max_tokens - closing), ids[i].end() - static_cast<std::ptrdiff_t>(closing));
        result.cut[i] = true;
      }
      for (const TokenId id : ids[i]) {
        if (id < 0 || id >= model_.shape().vocab) return fail(Error::bad_input("the tokenizer gives id " + std::to_string(id) + ", the model has " + std::to_string(model_.shape().vocab)).at_file(folder_.string()));
      }
      if (ids[i].empty()) return fail(Error::unsupported("the tokenizer adds no special tokens: an empty text has no vector").at_file(folder_.string()));
      result.tokens.push_back(static_cast<std::uint32_t>(ids[i].size()));
    }
    return ids;
  }

  Result<std::vector<TokenId>> encode(std::string_view text) const {
    if (const auto bad = unicode::find_invalid_utf8(text)) return fail(Error::bad_input("the text is not valid UTF-8").at_offset(*bad));
    if (config_.lower_case) return tokenizer_->encode(unicode::lower(text));
    return tokenizer_->encode(text);
  }

  // Texts of one forward pass.
  struct Group {
    std::span<const std::size_t> texts;
    std::size_t rows = 0;
  };
  // In order, as many as fit in `most` rows, at least one.
  static std::vector<Group> grouped(const Ids& ids, std::span<const std::size_t> order, std::size_t most) {
    std::vector<Group> groups;
    for (std::size_t begin = 0; begin < order.size();) {
      Group group;
      std::size_t end = begin;
      while (end < order.size() && (end == begin || group.rows + ids[order[end]].size() <= most)) group.rows += ids[order[end++]].size();
      group.texts = order.subspan(begin, end - begin);
      groups.push_back(group);
      begin = end;
    }
    return groups;
  }

  OpContext context() const {
    OpContext ctx{options_.device, options_.precision};
    ctx.stream = access_.stream.get();
    return ctx;
  }

  // Each thread takes one group after another.
  Status run_groups(const Ids& ids, std::span<const Group> groups, const CancellationToken& cancellation, const ProgressSink& progress, EmbedResult& result) const {
    const OpContext ctx = context();  // without a pool: an op runs on its thread
    std::size_t most = 0, texts = 0;
    for (const Group& group : groups) {
      most = std::max(most, group.rows);
      texts += group.texts.size();
    }
    const auto threads = static_cast<std::size_t>(runtime_.pool().threads());
    std::vector<Buffer> scratch;
    for (std::size_t t = 0; t < threads; ++t) {
      CORVID_TRY(Buffer own, allocate(ctx, model_.scratch_bytes(most), runtime_.memory(), "scratch"));
      scratch.push_back(std::move(own));
    }
    std::mutex mutex;
    Status failed;
    std::exception_ptr thrown;
    std::atomic<bool> stop{false};
    std::atomic<std::size_t> next{0}, done{0};
    for (std::size_t turn = 0; turn < groups.size() && !stop; turn += threads * kGroupsPerTurn) {
      const std::size_t end = std::min(groups.size(), turn + threads * kGroupsPerTurn);
      next = turn;
      const auto body = [&](int index, int) {
        try {
          for (std::size_t i; !stop && (i = next.fetch_add(1)) < end;) {
            auto status = cancellation.check();
            if (status) status = run(ctx, ids, groups[i], scratch[static_cast<std::size_t>(index)], cancellation, result);
            done += groups[i].texts.size();
            if (status) continue;
            const std::lock_guard lock(mutex);
            if (!stop.exchange(true)) failed = std::move(status);
          }
        } catch (...) {  // out of memory: the pool's bodies must not throw
          const std::lock_guard lock(mutex);
          if (!stop.exchange(true)) thrown = std::current_exception();
        }
      };
      runtime_.pool().run(body);
      if (progress && !stop) progress({"embed", done, texts, {}});
    }
    if (thrown) std::rethrow_exception(thrown);
    return failed;
  }

  // Writes the vectors of the group's texts; other threads may write others.
  Status run(const OpContext& ctx, const Ids& ids, const Group& group, const Buffer& scratch, const CancellationToken& cancellation, EmbedResult& result) const {
    const std::span<const std::size_t> which = group.texts;
    const std::size_t rows = group.rows;
    embed::PackedBatch batch;
    batch.types.assign(rows, 0);
    batch.offsets.push_back(0);
    for (const auto text : which) {
      for (std::size_t i = 0; i < ids[text].size(); ++i) {
        batch.ids.push_back(ids[text][i]);
        batch.positions.push_back(static_cast<std::int32_t>(i));
      }
      batch.offsets.push_back(static_cast<std::int32_t>(batch.ids.size()));
    }
    CORVID_TRY(const auto states, model_.forward(ctx, batch, scratch, cancellation));
    CORVID_TRY_STATUS(ops::pool_rows(ctx, config_.pooling, states.offsets, states.x, states.spare));
    if (options_.unit_vectors || config_.normalise) CORVID_TRY_STATUS(ops::l2_normalise(ctx, states.spare));
    std::vector<float> pooled(which.size() * dimension());
    CORVID_TRY_STATUS(download(ctx, pooled.data(), states.spare.data, pooled.size() * sizeof(float)));
    for (std::size_t i = 0; i < which.size(); ++i) {
      std::copy_n(pooled.begin() + static_cast<std::ptrdiff_t>(i * dimension()), dimension(),
                  result.values.begin() + static_cast<std::ptrdiff_t>(which[i] * dimension()));
    }
    return {};
  }

  Runtime& runtime_;
  std::filesystem::path folder_;
  EmbedderOptions options_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  embed::BertModel model_;
  embed::SentenceConfig config_;
  std::string identity_;
  std::size_t specials_;  // that the tokenizer adds to a text
  DeviceAccess access_;
  Buffer scratch_;        // a device's
  mutable std::mutex device_mutex_;
};

}  // namespace

Result<std::shared_ptr<TextEmbedder>> TextEmbedder::load(Runtime& runtime, const std::filesystem::path& folder, EmbedderOptions options) {
  CORVID_TRY(const auto file, ModelFile::open(folder));
  if (file->format() != ModelFormat::hub_folder) {
    return fail(Error::unsupported("an embedder is a hub folder with config.json and model.safetensors").at_file(folder.string()));
  }
  CORVID_TRY(embed::SentenceConfig config, embed::read_sentence_config(*file));
  CORVID_TRY(const auto tokenizer, Tokenizer::from_model(*file));
  OpContext ctx{options.device, options.precision};
  ctx.pool = &runtime.pool();
  CORVID_TRY(DeviceAccess access, open_device(runtime, options.device));
  ctx.stream = access.stream.get();
  CORVID_TRY(embed::BertModel model, embed::BertModel::load(ctx, file, *access.memory, options.progress));
  const auto positions = static_cast<std::uint32_t>(model.shape().positions);
  config.max_tokens = config.max_tokens == 0 ? positions : std::min(config.max_tokens, positions);
  CORVID_TRY(const auto empty, tokenizer->encode(""));
  if (config.max_tokens <= empty.size()) {
    return fail(Error::bad_input("the model's limit of " + std::to_string(config.max_tokens) + " tokens leaves no room for a text").at_file(folder.string()));
  }
  if (options.max_batch_tokens == 0) options.max_batch_tokens = options.device.is_cpu() ? kBatchTokens : kDeviceBatchTokens;
  Buffer scratch;
  if (!options.device.is_cpu()) {
    const std::uint32_t rows = std::max(options.max_batch_tokens, config.max_tokens);
    CORVID_TRY(scratch, allocate(ctx, model.scratch_bytes(rows), *access.memory, "scratch"));
    CORVID_TRY_STATUS(access.stream->plan(rows, *access.memory));
  }
  Sha256 hash;
  hash.update(file->identity());
  std::error_code ignored;
  if (const auto path = file->folder() / "tokenizer.json"; std::filesystem::exists(path, ignored)) {
    CORVID_TRY(const auto digest, sha256_file(path));
    hash.update(to_hex(digest));
  }
  hash.update(" pooling " + std::to_string(static_cast<int>(config.pooling)) + " limit " + std::to_string(config.max_tokens) + " lower " +
              std::to_string(config.lower_case ? 1 : 0));
  const auto digest = hash.finish();
  std::error_code failed;
  auto absolute = std::filesystem::canonical(folder, failed);
  if (failed) absolute = folder;
  return std::shared_ptr<TextEmbedder>(std::make_shared<BertEmbedder>(runtime, std::move(absolute), options, tokenizer, std::move(model), config,
                                                                      to_hex(digest), empty.size(), std::move(access), std::move(scratch)));
}

}  // namespace corvid
