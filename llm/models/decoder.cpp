#include "llm/models/decoder.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include "corvid/compute/weight_arena.hpp"

namespace corvid::llm {
namespace {

// The names of one layer's tensors in the two formats; %: the layer's number.
struct Names {
  const char *gguf, *hub;
};

// The names' front in a hub folder: a model of several modalities keeps its language model under one more name.
std::string hub_prefix(const ModelFile& file) {
  for (const char* prefix : {"language_model.model.", "model.language_model."}) {
    if (file.find(std::string(prefix) + "embed_tokens.weight")) return prefix;
  }
  return "model.";
}

// A tensor that no part of the forward pass reads would silently change what the model says; these do not.
bool may_be_left_out(std::string_view name) {
  const auto begins = [name](std::string_view front) { return name.substr(0, front.size()) == front; };
  const std::string_view derived = "rotary_emb.inv_freq";
  if (name.size() >= derived.size() && name.substr(name.size() - derived.size()) == derived) return true;
  for (const char* front : {"vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."}) if (begins(front)) return true;
  return name == "lm_head.weight" || name == "language_model.lm_head.weight" || name == "output.weight";
}

// Decode steps of more rows are not recorded: their launches are a small part of them.
constexpr std::int64_t kRecordedRows = 16;

// What a matrix product on the CPU uses for its quantised activations, 64 bytes each 32, a piece of the rows after another.
constexpr std::uint64_t kOpScratchBytes = (std::uint64_t{1} << 20) + 256;

std::string numbered(std::string_view pattern, std::int64_t layer) {
  std::string name(pattern);
  name.replace(name.find('%'), 1, std::to_string(layer));
  return name;
}

}  // namespace

Result<std::unique_ptr<Decoder>> Decoder::load(const OpContext& ctx, std::shared_ptr<const ModelFile> file, LlmConfig config,
                                               const StepLimits& limits, MemoryBudget& budget, const ProgressSink& progress) {
  auto model = std::make_unique<Decoder>();
  model->config_ = std::move(config);
  const LlmConfig& c = model->config_;
  const std::string path = file->path().string();

  WeightArena arena;
  OpContext place = ctx;
  place.arena = &arena;

  const std::string prefix = hub_prefix(*file);
  std::set<std::string_view> taken;
  const auto take = [&](const std::string& name, std::int64_t rows, std::int64_t cols, WeightUse use, bool required, Weight& out) -> Status {
    const TensorInfo* tensor = file->find(name);
    if (tensor) taken.insert(tensor->name);
    if (!tensor) {
      if (!required) return {};
      return fail(Error::bad_input("the model lacks this tensor").at_key(name).at_file(path));
    }
    const bool vector = use == WeightUse::vector;
    const std::vector<std::int64_t> wanted = vector ? std::vector<std::int64_t>{cols} : std::vector<std::int64_t>{rows, cols};
    if (tensor->shape != wanted) {
      std::string shape;
      for (const auto n : tensor->shape) shape += (shape.empty() ? "" : ", ") + std::to_string(n);
      return fail(Error::bad_input("has the shape [" + shape + "], but the configuration asks for [" + (vector ? "" : std::to_string(rows) + ", ") + std::to_string(cols) + "]").at_key(name).at_file(path).at_offset(tensor->file_offset));
    }
    CORVID_TRY(out, prepare_weight(place, file, *tensor, use, budget));
    return {};
  };
  const auto pick = [&](Names names) { return c.hub ? prefix + names.hub : std::string(names.gguf); };

  const std::string head = !c.hub ? "output.weight" : prefix == "language_model.model." ? "language_model.lm_head.weight" : "lm_head.weight";
  const bool tied = c.tied.value_or(file->find(head) == nullptr);
  CORVID_TRY_STATUS(take(pick({"token_embd.weight", "embed_tokens.weight"}), c.vocab, c.width, tied ? WeightUse::tied : WeightUse::lookup, true, model->embedding_));
  CORVID_TRY_STATUS(take(pick({"output_norm.weight", "norm.weight"}), 1, c.width, WeightUse::vector, true, model->output_norm_));
  if (tied) model->output_ = model->embedding_;
  else CORVID_TRY_STATUS(take(head, c.vocab, c.width, WeightUse::matrix, true, model->output_));

  std::vector<float> factors;
  if (const TensorInfo* freqs = c.hub ? nullptr : file->find("rope_freqs.weight")) {
    if (freqs->dtype != DType::f32 || freqs->elements() != c.rope_dims / 2) return fail(Error::bad_input("rope factors must be f32, one a pair").at_key(freqs->name).at_file(path).at_offset(freqs->file_offset));
    taken.insert(freqs->name);
    factors.resize(static_cast<std::size_t>(freqs->elements()));
    std::memcpy(factors.data(), freqs->bytes.data(), factors.size() * sizeof(float));
    if (std::any_of(factors.begin(), factors.end(), [](float f) { return !(f > 0); })) return fail(Error::bad_input("rope factors must be positive").at_key(freqs->name).at_file(path).at_offset(freqs->file_offset));
  }
  const auto rope = [&](const RopeConfig& kind, Rope& out) -> Status {
    const RopeTable table = rope_table(kind, c.rope_dims, factors);
    out.magnitude = table.magnitude;
    CORVID_TRY(out.inverse_frequencies, make_weight(ctx, table.inverse_frequencies, 1, c.rope_dims / 2, WeightUse::vector, budget));
    return {};
  };
  CORVID_TRY_STATUS(rope(c.rope, model->rope_));
  CORVID_TRY_STATUS(rope(c.local_rope, model->local_rope_));

  const std::int64_t q_rows = c.heads * c.head_dim, kv_rows = c.kv_heads * c.head_dim;
  const bool gemma = c.architecture == "gemma3";
  const bool qwen2 = c.architecture == "qwen2";
  for (std::int64_t i = 0; i < c.layers; ++i) {
    Layer l;
    const auto name = [&](Names names) { return numbered(pick(names), i); };
    const auto matrix = [&](Names n, std::int64_t rows, std::int64_t cols, Weight& out) { return take(name(n), rows, cols, WeightUse::matrix, true, out); };
    const auto vector = [&](Names n, std::int64_t size, bool required, Weight& out) { return take(name(n), 1, size, WeightUse::vector, required, out); };
    CORVID_TRY_STATUS(vector({"blk.%.attn_norm.weight", "layers.%.input_layernorm.weight"}, c.width, true, l.attn_norm));
    CORVID_TRY_STATUS(matrix({"blk.%.attn_q.weight", "layers.%.self_attn.q_proj.weight"}, q_rows, c.width, l.wq));
    CORVID_TRY_STATUS(matrix({"blk.%.attn_k.weight", "layers.%.self_attn.k_proj.weight"}, kv_rows, c.width, l.wk));
    CORVID_TRY_STATUS(matrix({"blk.%.attn_v.weight", "layers.%.self_attn.v_proj.weight"}, kv_rows, c.width, l.wv));
    CORVID_TRY_STATUS(matrix({"blk.%.attn_output.weight", "layers.%.self_attn.o_proj.weight"}, c.width, q_rows, l.wo));
    CORVID_TRY_STATUS(vector({"blk.%.attn_q.bias", "layers.%.self_attn.q_proj.bias"}, q_rows, qwen2, l.bq));
    CORVID_TRY_STATUS(vector({"blk.%.attn_k.bias", "layers.%.self_attn.k_proj.bias"}, kv_rows, qwen2, l.bk));
    CORVID_TRY_STATUS(vector({"blk.%.attn_v.bias", "layers.%.self_attn.v_proj.bias"}, kv_rows, qwen2, l.bv));
    CORVID_TRY_STATUS(vector({"blk.%.attn_output.bias", "layers.%.self_attn.o_proj.bias"}, c.width, false, l.bo));
    if (c.qk_norm) {
      CORVID_TRY_STATUS(vector({"blk.%.attn_q_norm.weight", "layers.%.self_attn.q_norm.weight"}, c.head_dim, true, l.q_norm));
      CORVID_TRY_STATUS(vector({"blk.%.attn_k_norm.weight", "layers.%.self_attn.k_norm.weight"}, c.head_dim, true, l.k_norm));
    }
    if (gemma) {
      CORVID_TRY_STATUS(vector({"blk.%.post_attention_norm.weight", "layers.%.post_attention_layernorm.weight"}, c.width, true, l.post_attn_norm));
      CORVID_TRY_STATUS(vector({"blk.%.ffn_norm.weight", "layers.%.pre_feedforward_layernorm.weight"}, c.width, true, l.ffn_norm));
      CORVID_TRY_STATUS(vector({"blk.%.post_ffw_norm.weight", "layers.%.post_feedforward_layernorm.weight"}, c.width, true, l.post_ffn_norm));
    } else {
      CORVID_TRY_STATUS(vector({"blk.%.ffn_norm.weight", "layers.%.post_attention_layernorm.weight"}, c.width, true, l.ffn_norm));
    }
    CORVID_TRY_STATUS(matrix({"blk.%.ffn_gate.weight", "layers.%.mlp.gate_proj.weight"}, c.ffn, c.width, l.gate));
    CORVID_TRY_STATUS(matrix({"blk.%.ffn_up.weight", "layers.%.mlp.up_proj.weight"}, c.ffn, c.width, l.up));
    CORVID_TRY_STATUS(matrix({"blk.%.ffn_down.weight", "layers.%.mlp.down_proj.weight"}, c.width, c.ffn, l.down));
    model->layers_.push_back(std::move(l));
    if (progress) progress({"load", static_cast<std::uint64_t>(i + 1), static_cast<std::uint64_t>(c.layers), path});
  }
  for (const TensorInfo& tensor : file->tensors()) {
    if (taken.count(tensor.name) != 0 || may_be_left_out(tensor.name)) continue;
    return fail(Error::unsupported("the model has a tensor that the architecture " + c.architecture + " does not use here").at_key(tensor.name).at_file(path).at_offset(tensor.file_offset));
  }
  model->limits_ = limits;
  const std::int64_t row_floats = 3 * c.width + 2 * (q_rows + kv_rows) + 2 * c.ffn;
  CORVID_TRY(model->scratch_, allocate(ctx, static_cast<std::uint64_t>(limits.rows * row_floats) * sizeof(float), budget, "scratch"));
  model->staged_.resize(static_cast<std::size_t>(limits.rows * (4 + limits.pages) + 1));
  CORVID_TRY(model->inputs_, allocate(ctx, model->staged_.size() * sizeof(std::int32_t), budget, "scratch"));
  if (ctx.device.is_cpu()) {
    CORVID_TRY(model->op_scratch_, allocate(ctx, std::min(kOpScratchBytes, static_cast<std::uint64_t>(limits.rows * std::max(c.ffn, q_rows)) * 2), budget, "scratch"));
  } else {
    const std::int64_t rows = std::min(limits.rows, kLogitRows);
    CORVID_TRY(model->logits_, allocate(ctx, static_cast<std::uint64_t>(rows * c.vocab) * sizeof(float), budget, "scratch"));
    CORVID_TRY_STATUS(ctx.stream->plan(limits.rows, budget));
  }
  return model;
}

std::uint64_t Decoder::step_bytes() const noexcept {
  std::uint64_t bytes = 0;
  const auto add = [&](const Weight& w) {
    if (w) bytes += w.device().is_cpu() ? static_cast<std::uint64_t>(w.rows()) * bytes_of(w.dtype(), static_cast<std::uint64_t>(w.cols())).value_or(0) : w.resident_bytes();
  };
  add(output_);
  for (const Layer& l : layers_) {
    for (const Weight* w : {&l.attn_norm, &l.wq, &l.wk, &l.wv, &l.bq, &l.bk, &l.bv, &l.bo, &l.q_norm, &l.k_norm, &l.wo, &l.post_attn_norm, &l.ffn_norm, &l.gate, &l.up, &l.down, &l.post_ffn_norm}) add(*w);
  }
  return bytes;
}

// The batch as one image, so that a device gets it in one copy.
Status Decoder::stage(const OpContext& ctx, const StepBatch& batch) {
  const auto rows = static_cast<std::size_t>(limits_.rows);
  const auto put = [&](std::size_t at, const std::vector<std::int32_t>& values) { std::copy(values.begin(), values.end(), staged_.begin() + static_cast<std::ptrdiff_t>(at)); };
  put(0, batch.ids);
  put(rows, batch.positions);
  put(2 * rows, batch.row_offsets);
  put(3 * rows + 1, batch.logit_rows);
  const std::size_t table = 4 * rows + 1, sequences = batch.row_offsets.size() - 1;
  for (std::size_t s = 0; s < sequences; ++s) {
    const auto from = batch.page_table.begin() + static_cast<std::ptrdiff_t>(s) * batch.max_pages;
    std::copy(from, from + batch.max_pages, staged_.begin() + static_cast<std::ptrdiff_t>(table + s * static_cast<std::size_t>(limits_.pages)));
  }
  return upload(ctx, inputs_.data(), staged_.data(), (table + sequences * static_cast<std::size_t>(limits_.pages)) * sizeof(std::int32_t));
}

Status Decoder::forward(const OpContext& asked, const StepBatch& batch, const PagePool& pages, std::vector<float>& logits) {
  const LlmConfig& c = config_;
  OpContext ctx = asked;
  if (op_scratch_.data()) ctx.scratch = {op_scratch_.data(), op_scratch_.bytes()};
  const auto n = static_cast<std::int64_t>(batch.ids.size()), wanted = static_cast<std::int64_t>(batch.logit_rows.size());
  const auto sequences = static_cast<std::int64_t>(batch.row_offsets.size()) - 1;
  if (n > limits_.rows || sequences > limits_.rows || batch.max_pages > limits_.pages) {
    return fail(Error::limit_exceeded("a step of " + std::to_string(n) + " rows and " + std::to_string(batch.max_pages) + " pages; it was planned for " + std::to_string(limits_.rows) + " and " + std::to_string(limits_.pages)));
  }
  CORVID_TRY_STATUS(stage(ctx, batch));
  logits.resize(static_cast<std::size_t>(wanted * c.vocab));
  const auto row_bytes = static_cast<std::size_t>(c.vocab) * sizeof(float);

  if (!ctx.device.is_cpu() && n == sequences && n == wanted && n <= kRecordedRows && limits_.record) {
    if (recorded_pages_ != &pages) recorded_.clear();
    recorded_pages_ = &pages;
    Recorded& step = recorded_[n];
    const TensorView y = logits_.view(DType::f32, {n, c.vocab});
    const auto queue = [&]() -> Status {
      CORVID_TRY_STATUS(layers(ctx, n, sequences, pages));
      return head(ctx, n, 0, n, y);
    };
    if (!step.seen) {
      step.seen = true;  // kernels are loaded at their first use, which cannot be recorded
      CORVID_TRY_STATUS(queue());
    } else {
      if (!step.graph) {
        CORVID_TRY_STATUS(ctx.stream->begin_capture());
        const Status queued = queue();
        auto graph = ctx.stream->end_capture();  // also after a failure: the stream must leave its recording
        CORVID_TRY_STATUS(queued);
        if (!graph) return fail(std::move(graph).error());
        step.graph = std::move(*graph);
      }
      CORVID_TRY_STATUS(ctx.stream->launch(*step.graph));
      ++replayed_steps_;
    }
    return download(ctx, logits.data(), logits_.data(), logits.size() * sizeof(float));
  }

  CORVID_TRY_STATUS(layers(ctx, n, sequences, pages));
  // Only the rows that are asked for meet the output matrix, the largest of all.
  for (std::int64_t first = 0; first < wanted; first += kLogitRows) {
    const std::int64_t count = std::min(kLogitRows, wanted - first);
    float* const to = logits.data() + first * c.vocab;
    if (ctx.device.is_cpu()) {
      CORVID_TRY_STATUS(head(ctx, n, first, count, TensorView(to, DType::f32, {count, c.vocab})));
    } else {
      CORVID_TRY_STATUS(head(ctx, n, first, count, logits_.view(DType::f32, {count, c.vocab})));
      CORVID_TRY_STATUS(download(ctx, to, logits_.data(), static_cast<std::size_t>(count) * row_bytes));
    }
  }
  return {};
}

Status Decoder::layers(const OpContext& ctx, std::int64_t n, std::int64_t sequences, const PagePool& pages) {
  const LlmConfig& c = config_;
  const std::int64_t q_cols = c.heads * c.head_dim, kv_cols = c.kv_heads * c.head_dim;
  std::uint64_t used = 0;
  const auto take = [&](std::int64_t cols) {
    const TensorView view = scratch_.view(DType::f32, {n, cols}, used);
    used += static_cast<std::uint64_t>(limits_.rows * cols) * sizeof(float);
    return view;
  };
  const TensorView x = take(c.width), h = take(c.width), o = take(c.width), q = take(q_cols), a = take(q_cols), k = take(kv_cols), v = take(kv_cols), g = take(c.ffn), u = take(c.ffn);
  const auto by_head = [&](TensorView rows, std::int64_t heads) { return TensorView(rows.data, DType::f32, {n, heads, c.head_dim}, ctx.device); };
  const TensorView q3 = by_head(q, c.heads), k3 = by_head(k, c.kv_heads), v3 = by_head(v, c.kv_heads), a3 = by_head(a, c.heads);
  const auto ints = [&](std::int64_t at, std::initializer_list<std::int64_t> shape) -> ConstTensorView { return inputs_.view(DType::i32, shape, static_cast<std::uint64_t>(at) * sizeof(std::int32_t)); };
  const std::int64_t r = limits_.rows;
  const ConstTensorView ids = ints(0, {n}), positions = ints(r, {n});
  const ops::RaggedRows rows{ints(2 * r, {sequences + 1}), positions, ints(4 * r + 1, {sequences, limits_.pages})};

  CORVID_TRY_STATUS(ops::embedding(ctx, ids, embedding_, c.embedding_scale, x));
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const Layer& l = layers_[static_cast<std::size_t>(i)];
    const bool sliding = c.sliding[static_cast<std::size_t>(i)];
    CORVID_TRY_STATUS(ops::rms_norm(ctx, x, l.attn_norm, c.eps, h, c.norm_offset));
    const ops::Projection qkv[] = {{&l.wq, &l.bq, q}, {&l.wk, &l.bk, k}, {&l.wv, &l.bv, v}};
    CORVID_TRY_STATUS(ops::linear_many(ctx, h, qkv));
    if (c.qk_norm) {
      CORVID_TRY_STATUS(ops::rms_norm(ctx, q3, l.q_norm, c.eps, q3, c.norm_offset));
      CORVID_TRY_STATUS(ops::rms_norm(ctx, k3, l.k_norm, c.eps, k3, c.norm_offset));
    }
    const Rope& table = sliding ? local_rope_ : rope_;
    ops::RopeParams rope;
    rope.pairing = c.pairing;
    rope.dims = static_cast<int>(c.rope_dims);
    rope.magnitude = table.magnitude;
    rope.inverse_frequencies = table.inverse_frequencies.vector();
    CORVID_TRY_STATUS(ops::rope(ctx, rope, positions, q3));
    CORVID_TRY_STATUS(ops::rope(ctx, rope, positions, k3));
    const ops::PagedKv kv = pages.layer(i);
    CORVID_TRY_STATUS(ops::kv_append(ctx, rows, k3, v3, kv));
    ops::AttentionParams attention;
    attention.scale = c.attention_scale;
    attention.window = sliding ? static_cast<int>(c.window) : 0;
    CORVID_TRY_STATUS(ops::paged_attention(ctx, attention, rows, q3, kv, a3));
    if (c.post_norms) {
      CORVID_TRY_STATUS(ops::linear(ctx, a, l.wo, l.bo, o));
      CORVID_TRY_STATUS(ops::rms_norm(ctx, o, l.post_attn_norm, c.eps, o, c.norm_offset));
      CORVID_TRY_STATUS(ops::add(ctx, o, x));
    } else {
      CORVID_TRY_STATUS(ops::linear(ctx, a, l.wo, l.bo, x, true));
    }
    CORVID_TRY_STATUS(ops::rms_norm(ctx, x, l.ffn_norm, c.eps, h, c.norm_offset));
    const ops::Projection gate_up[] = {{&l.gate, nullptr, g}, {&l.up, nullptr, u}};
    CORVID_TRY_STATUS(ops::linear_many(ctx, h, gate_up));
    CORVID_TRY_STATUS(ops::gated_activation(ctx, c.activation, g, u, g));
    if (c.post_norms) {
      CORVID_TRY_STATUS(ops::linear(ctx, g, l.down, {}, o));
      CORVID_TRY_STATUS(ops::rms_norm(ctx, o, l.post_ffn_norm, c.eps, o, c.norm_offset));
      CORVID_TRY_STATUS(ops::add(ctx, o, x));
    } else {
      CORVID_TRY_STATUS(ops::linear(ctx, g, l.down, {}, x, true));
    }
  }
  return {};
}

Status Decoder::head(const OpContext& ctx, std::int64_t n, std::int64_t first, std::int64_t count, TensorView y) {
  const LlmConfig& c = config_;
  const auto floats = static_cast<std::uint64_t>(limits_.rows * c.width) * sizeof(float);
  const TensorView x = scratch_.view(DType::f32, {n, c.width}), h = scratch_.view(DType::f32, {count, c.width}, floats);
  const ConstTensorView rows = inputs_.view(DType::i32, {count}, static_cast<std::uint64_t>(3 * limits_.rows + 1 + first) * sizeof(std::int32_t));
  CORVID_TRY_STATUS(ops::gather_rows(ctx, rows, x, h));
  CORVID_TRY_STATUS(ops::rms_norm(ctx, h, output_norm_, c.eps, h, c.norm_offset));
  return ops::linear(ctx, h, output_, {}, y);
}

}  // namespace corvid::llm
