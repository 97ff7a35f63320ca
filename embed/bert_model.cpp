#include "bert_model.hpp"

#include <cmath>
#include <utility>

#include "corvid/compute/ops.hpp"

namespace corvid::embed {
namespace {

Error bad_config(const ModelFile& file, std::string message, std::string key) {
  return Error::bad_input(std::move(message)).at_file((file.folder() / "config.json").string()).at_key(std::move(key));
}

Result<std::int64_t> integer(const ModelFile& file, const char* key, std::int64_t most) {
  const Json& config = file.config();
  const auto at = config.find(key);
  if (at == config.end() || !at->is_number_integer()) return fail(bad_config(file, "an integer is missing", key));
  const auto value = at->get<std::int64_t>();
  if (value < 1 || value > most) return fail(bad_config(file, "must lie in 1 to " + std::to_string(most), key));
  return value;
}

// Reads tensors of known shapes under the model's prefix.
class Reader {
 public:
  Reader(const OpContext& ctx, std::shared_ptr<const ModelFile> file, MemoryBudget& budget)
      : ctx_(ctx), file_(std::move(file)), budget_(budget), prefix_(file_->find("bert.embeddings.word_embeddings.weight") ? "bert." : "") {}

  Result<Weight> table(const std::string& name, std::int64_t rows, std::int64_t cols, WeightUse use) const {
    CORVID_TRY(const TensorInfo* tensor, file_->require(prefix_ + name));
    const bool fits = use == WeightUse::vector ? tensor->shape == std::vector<std::int64_t>{cols} : tensor->shape == std::vector<std::int64_t>{rows, cols};
    if (!fits) {
      return fail(Error::bad_input("the tensor's shape is not what config.json says ([" + (use == WeightUse::vector ? "" : std::to_string(rows) + ", ") +
                                   std::to_string(cols) + "])").at_file(tensor->file).at_key(tensor->name));
    }
    return prepare_weight(ctx_, file_, *tensor, use, budget_);
  }
  template <class Pair>
  Status dense(const std::string& name, std::int64_t out, std::int64_t in, Pair& pair, WeightUse use = WeightUse::rounded) const {
    CORVID_TRY(pair.matrix, table(name + ".weight", out, in, use));
    CORVID_TRY(pair.bias, table(name + ".bias", 1, out, WeightUse::vector));
    return {};
  }
  template <class Pair>
  Status norm(const std::string& name, std::int64_t width, Pair& pair) const {
    CORVID_TRY(pair.gain, table(name + ".weight", 1, width, WeightUse::vector));
    CORVID_TRY(pair.bias, table(name + ".bias", 1, width, WeightUse::vector));
    return {};
  }

 private:
  const OpContext& ctx_;
  std::shared_ptr<const ModelFile> file_;
  MemoryBudget& budget_;
  std::string prefix_;
};

}  // namespace

Result<BertShape> read_bert_shape(const ModelFile& file) {
  const Json& config = file.config();
  if (!config.is_object()) return fail(Error::unsupported("an embedder is a hub folder with config.json").at_file(file.path().string()));
  const auto text = [&](const char* key, const char* otherwise) {
    const auto at = config.find(key);
    return at != config.end() && at->is_string() ? at->get<std::string>() : std::string(otherwise);
  };
  const std::string type = text("model_type", "");
  if (type != "bert") {
    return fail(Error::unsupported("encoder architecture \"" + type + "\"; BERT encoders (model_type \"bert\") are supported")
                    .at_file((file.folder() / "config.json").string()).at_key("model_type"));
  }
  if (const auto kind = text("position_embedding_type", "absolute"); kind != "absolute") {
    return fail(Error::unsupported("position embeddings of kind \"" + kind + "\"").at_key("position_embedding_type"));
  }
  BertShape shape;
  CORVID_TRY(shape.vocab, integer(file, "vocab_size", 1 << 24));
  CORVID_TRY(shape.width, integer(file, "hidden_size", 1 << 16));
  CORVID_TRY(shape.inner, integer(file, "intermediate_size", 1 << 18));
  CORVID_TRY(shape.layers, integer(file, "num_hidden_layers", 1024));
  CORVID_TRY(shape.heads, integer(file, "num_attention_heads", 1024));
  CORVID_TRY(shape.positions, integer(file, "max_position_embeddings", 1 << 20));
  CORVID_TRY(shape.types, integer(file, "type_vocab_size", 1024));
  if (shape.width % shape.heads != 0) return fail(bad_config(file, "must divide hidden_size", "num_attention_heads"));
  if (const auto at = config.find("layer_norm_eps"); at != config.end()) {
    if (!at->is_number() || !(at->get<double>() >= 0)) return fail(bad_config(file, "must be a number that is not negative", "layer_norm_eps"));
    shape.norm_eps = static_cast<float>(at->get<double>());
  }
  const std::string act = text("hidden_act", "gelu");
  if (act == "gelu") shape.activation = ops::Activation::gelu_erf;
  else if (act == "gelu_new" || act == "gelu_pytorch_tanh") shape.activation = ops::Activation::gelu_tanh;
  else if (act == "relu") shape.activation = ops::Activation::relu;
  else if (act == "silu" || act == "swish") shape.activation = ops::Activation::silu;
  else return fail(Error::unsupported("activation \"" + act + "\"").at_key("hidden_act"));
  return shape;
}

Result<BertModel> BertModel::load(const OpContext& ctx, std::shared_ptr<const ModelFile> file, MemoryBudget& budget, const ProgressSink& progress) {
  BertModel model;
  CORVID_TRY(model.shape_, read_bert_shape(*file));
  const BertShape& s = model.shape_;
  const Reader read(ctx, file, budget);
  CORVID_TRY(model.words_, read.table("embeddings.word_embeddings.weight", s.vocab, s.width, WeightUse::lookup));
  CORVID_TRY(model.positions_, read.table("embeddings.position_embeddings.weight", s.positions, s.width, WeightUse::lookup));
  CORVID_TRY(model.types_, read.table("embeddings.token_type_embeddings.weight", s.types, s.width, WeightUse::lookup));
  CORVID_TRY_STATUS(read.norm("embeddings.LayerNorm", s.width, model.embedding_norm_));
  for (std::int64_t i = 0; i < s.layers; ++i) {
    const std::string at = "encoder.layer." + std::to_string(i) + ".";
    Layer layer;
    CORVID_TRY_STATUS(read.dense(at + "attention.self.query", s.width, s.width, layer.query));
    CORVID_TRY_STATUS(read.dense(at + "attention.self.key", s.width, s.width, layer.key));
    // Half of what int8 costs in MiniLM's vectors comes from the values, a twelfth of the work: they stay floats (lowest cosine of the
    // recorded texts .9992 instead of .9983).
    CORVID_TRY_STATUS(read.dense(at + "attention.self.value", s.width, s.width, layer.value, WeightUse::matrix));
    CORVID_TRY_STATUS(read.dense(at + "attention.output.dense", s.width, s.width, layer.attention_out));
    CORVID_TRY_STATUS(read.norm(at + "attention.output.LayerNorm", s.width, layer.attention_norm));
    CORVID_TRY_STATUS(read.dense(at + "intermediate.dense", s.inner, s.width, layer.up));
    CORVID_TRY_STATUS(read.dense(at + "output.dense", s.width, s.inner, layer.down));
    CORVID_TRY_STATUS(read.norm(at + "output.LayerNorm", s.width, layer.out_norm));
    model.layers_.push_back(std::move(layer));
    if (progress) progress({"load", static_cast<std::uint64_t>(i + 1), static_cast<std::uint64_t>(s.layers), file->path().string()});
  }
  return model;
}

std::uint64_t BertModel::scratch_bytes(std::size_t rows) const noexcept {
  // States, query, key, value, mixed, pooled; the inner layer; ids, positions, types, offsets. Each begins at 256 bytes.
  return static_cast<std::uint64_t>(rows) * (static_cast<std::uint64_t>(6 * shape_.width + shape_.inner) * sizeof(float) + 4 * sizeof(std::int32_t)) + 16 * 256;
}

Result<BertModel::States> BertModel::forward(const OpContext& ctx, const PackedBatch& batch, const Buffer& scratch, const CancellationToken& cancellation) const {
  const auto n = static_cast<std::int64_t>(batch.ids.size());
  const std::int64_t width = shape_.width, head = width / shape_.heads;
  std::uint64_t used = 0;
  const auto take = [&](DType dtype, std::initializer_list<std::int64_t> shape) {
    const TensorView view = scratch.view(dtype, shape, used);
    used += (static_cast<std::uint64_t>(view.elements()) * traits(dtype).block_bytes + 255) / 256 * 256;
    return view;
  };
  const auto staged = [&](const std::vector<std::int32_t>& values) -> Result<ConstTensorView> {
    const TensorView view = take(DType::i32, {static_cast<std::int64_t>(values.size())});
    CORVID_TRY_STATUS(upload(ctx, view.data, values.data(), values.size() * sizeof(std::int32_t)));
    return ConstTensorView(view);
  };
  CORVID_TRY(const ConstTensorView ids, staged(batch.ids));
  CORVID_TRY(const ConstTensorView positions, staged(batch.positions));
  CORVID_TRY(const ConstTensorView types, staged(batch.types));
  CORVID_TRY(const ConstTensorView offsets, staged(batch.offsets));
  const TensorView x = take(DType::f32, {n, width}), q = take(DType::f32, {n, width}), k = take(DType::f32, {n, width}), v = take(DType::f32, {n, width}),
                   mixed = take(DType::f32, {n, width}), h = take(DType::f32, {n, shape_.inner});
  const TensorView spare = take(DType::f32, {static_cast<std::int64_t>(batch.offsets.size()) - 1, width});
  const auto split = [&](const TensorView& rows) { return TensorView(rows.data, DType::f32, {n, shape_.heads, head}, ctx.device); };
  CORVID_TRY_STATUS(ops::embedding(ctx, ids, words_, 1.0f, x));
  CORVID_TRY_STATUS(ops::embedding(ctx, types, types_, 1.0f, x, true));
  CORVID_TRY_STATUS(ops::embedding(ctx, positions, positions_, 1.0f, x, true));
  CORVID_TRY_STATUS(ops::layer_norm(ctx, x, embedding_norm_.gain, embedding_norm_.bias, shape_.norm_eps, x));
  const float scale = 1.0f / std::sqrt(static_cast<float>(head));
  for (const Layer& layer : layers_) {
    CORVID_TRY_STATUS(cancellation.check());
    const ops::Projection projections[] = {{&layer.query.matrix, &layer.query.bias, q}, {&layer.key.matrix, &layer.key.bias, k}};
    CORVID_TRY_STATUS(ops::linear_many(ctx, x, projections));
    CORVID_TRY_STATUS(ops::linear(ctx, x, layer.value.matrix, layer.value.bias, v));
    CORVID_TRY_STATUS(ops::encoder_attention(ctx, scale, offsets, split(q), split(k), split(v), split(mixed), true));
    CORVID_TRY_STATUS(ops::linear(ctx, mixed, layer.attention_out.matrix, layer.attention_out.bias, x, true));
    CORVID_TRY_STATUS(ops::layer_norm(ctx, x, layer.attention_norm.gain, layer.attention_norm.bias, shape_.norm_eps, x));
    CORVID_TRY_STATUS(ops::linear_activation(ctx, shape_.activation, x, layer.up.matrix, layer.up.bias, h));
    CORVID_TRY_STATUS(ops::linear(ctx, h, layer.down.matrix, layer.down.bias, x, true));
    CORVID_TRY_STATUS(ops::layer_norm(ctx, x, layer.out_norm.gain, layer.out_norm.bias, shape_.norm_eps, x));
  }
  return States{x, offsets, spare};
}

}  // namespace corvid::embed
