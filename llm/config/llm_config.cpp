#include "llm/config/llm_config.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

namespace corvid::llm {
namespace {

// Beyond these no model is known; they bound what a hostile file can make us allocate.
constexpr std::int64_t kMaxLayers = 1024, kMaxWidth = 1 << 17, kMaxHeads = 4096, kMaxVocab = 1 << 22, kMaxContext = 1 << 24;

bool known(std::string_view a) { return a == "llama" || a == "qwen2" || a == "qwen3" || a == "gemma3"; }

Error bad_architecture(std::string_view name) {
  return Error::unsupported("models of the architecture \"" + std::string(name.substr(0, 80)) + "\" are not supported; llama, qwen2, qwen3 and gemma3 are");
}

void architecture_defaults(LlmConfig& c) {
  c.qk_norm = c.architecture == "qwen3" || c.architecture == "gemma3";
  if (c.architecture == "gemma3") {
    c.post_norms = true;
    c.activation = ops::Activation::gelu_tanh;
    c.embedding_scale = std::sqrt(static_cast<float>(c.width));
    if (c.hub) c.norm_offset = 1;
  }
  c.pairing = c.architecture == "llama" && !c.hub ? ops::RopePairing::interleaved : ops::RopePairing::halves;
}

Status check(const LlmConfig& c) {
  const auto in = [](std::int64_t value, std::int64_t most, const char* what) -> Status {
    if (value >= 1 && value <= most) return {};
    return fail(Error::bad_input(std::string(what) + " is " + std::to_string(value) + "; it must be from 1 to " + std::to_string(most)).at_key(what));
  };
  CORVID_TRY_STATUS(in(c.layers, kMaxLayers, "layer count"));
  CORVID_TRY_STATUS(in(c.width, kMaxWidth, "embedding length"));
  CORVID_TRY_STATUS(in(c.ffn, kMaxWidth * 8, "feed-forward length"));
  CORVID_TRY_STATUS(in(c.heads, kMaxHeads, "head count"));
  CORVID_TRY_STATUS(in(c.kv_heads, c.heads, "key/value head count"));
  CORVID_TRY_STATUS(in(c.head_dim, 4096, "head length"));
  CORVID_TRY_STATUS(in(c.vocab, kMaxVocab, "vocabulary size"));
  CORVID_TRY_STATUS(in(c.context, kMaxContext, "context length"));
  CORVID_TRY_STATUS(in(c.rope_dims, c.head_dim, "rotated dimensions"));
  if (c.heads % c.kv_heads != 0) return fail(Error::bad_input("the head count is not a multiple of the key/value head count").at_key("head count"));
  if (c.rope_dims % 2 != 0) return fail(Error::bad_input("the number of rotated dimensions is odd").at_key("rotated dimensions"));
  if (!(c.eps > 0) || !std::isfinite(c.eps)) return fail(Error::bad_input("the norm's epsilon must be positive").at_key("epsilon"));
  for (const auto* r : {&c.rope, &c.local_rope}) {
    for (const double value : {r->base, r->factor, r->beta_fast, r->beta_slow, r->multiplier}) {
      if (!(value > 0) || !std::isfinite(value)) return fail(Error::bad_input("rope base, factor and betas must be positive").at_key("rope"));
    }
    if (r->scaling == RopeScaling::yarn && !(r->base > 1)) return fail(Error::bad_input("this rope scaling needs a base over 1").at_key("rope"));
    if (r->scaling == RopeScaling::llama3 && !(r->low_freq_factor > 0 && r->high_freq_factor > r->low_freq_factor)) {
      return fail(Error::bad_input("low_freq_factor must be positive and below high_freq_factor").at_key("rope"));
    }
    if ((r->scaling == RopeScaling::llama3 || r->scaling == RopeScaling::yarn) && !(r->original_context > 0)) {
      return fail(Error::bad_input("this rope scaling needs the original context length").at_key("rope"));
    }
  }
  return {};
}

void sliding_layers(LlmConfig& c, std::int64_t pattern) {
  c.sliding.assign(static_cast<std::size_t>(c.layers), false);
  if (c.window <= 0) return;
  for (std::int64_t i = 0; i < c.layers; ++i) c.sliding[static_cast<std::size_t>(i)] = (i + 1) % pattern != 0;
}

Result<LlmConfig> from_gguf(const ModelFile& file) {
  const Metadata& m = file.metadata();
  LlmConfig c;
  CORVID_TRY(const auto name, m.require_string("general.architecture"));
  c.architecture = name;
  if (!known(name)) return fail(bad_architecture(name).at_key("general.architecture"));
  const std::string p = c.architecture + ".";
  const auto integer = [&](const char* key, std::int64_t& out) -> Status {
    CORVID_TRY(const auto value, m.require_unsigned(p + key));
    if (value > static_cast<std::uint64_t>(kMaxContext)) return fail(Error::bad_input("the value " + std::to_string(value) + " is too large").at_key(p + key));
    out = static_cast<std::int64_t>(value);
    return {};
  };
  const auto maybe = [&](const char* key, std::int64_t usual) -> Result<std::int64_t> {
    CORVID_TRY(const auto value, m.unsigned_integer(p + key));
    if (!value) return usual;
    if (*value > static_cast<std::uint64_t>(kMaxContext)) return fail(Error::bad_input("the value " + std::to_string(*value) + " is too large").at_key(p + key));
    return static_cast<std::int64_t>(*value);
  };
  CORVID_TRY_STATUS(integer("block_count", c.layers));
  CORVID_TRY_STATUS(integer("embedding_length", c.width));
  CORVID_TRY_STATUS(integer("feed_forward_length", c.ffn));
  CORVID_TRY_STATUS(integer("attention.head_count", c.heads));
  CORVID_TRY_STATUS(integer("context_length", c.context));
  CORVID_TRY(c.kv_heads, maybe("attention.head_count_kv", c.heads));
  if (c.heads < 1) return fail(Error::bad_input("the model has no attention heads").at_key(p + "attention.head_count"));
  CORVID_TRY(c.head_dim, maybe("attention.key_length", c.width / c.heads));
  CORVID_TRY(const auto value_length, maybe("attention.value_length", c.head_dim));
  if (value_length != c.head_dim) return fail(Error::unsupported("keys and values of different lengths").at_key(p + "attention.value_length"));
  CORVID_TRY(c.rope_dims, maybe("rope.dimension_count", c.head_dim));
  CORVID_TRY(const auto eps, m.real(p + "attention.layer_norm_rms_epsilon"));
  if (eps) c.eps = static_cast<float>(*eps);
  CORVID_TRY(const auto base, m.real(p + "rope.freq_base"));
  if (base) c.rope.base = *base;
  CORVID_TRY(const auto kind, m.string(p + "rope.scaling.type"));
  CORVID_TRY(const auto factor, m.real(p + "rope.scaling.factor"));
  CORVID_TRY(const auto linear, m.real(p + "rope.scale_linear"));
  CORVID_TRY(const auto original, m.real(p + "rope.scaling.original_context_length"));
  if (factor && *factor != 0) c.rope.factor = *factor;
  else if (linear && *linear != 0) c.rope.factor = *linear;
  c.rope.original_context = original && *original > 0 ? *original : static_cast<double>(c.context);
  const auto real = [&](const char* key, double& out) -> Status {
    CORVID_TRY(const auto value, m.real(p + key));
    if (value) out = *value;
    return {};
  };
  CORVID_TRY_STATUS(real("rope.scaling.attn_factor", c.rope.multiplier));
  CORVID_TRY_STATUS(real("rope.scaling.yarn_attn_factor", c.rope.attention_factor));
  CORVID_TRY_STATUS(real("rope.scaling.yarn_beta_fast", c.rope.beta_fast));
  CORVID_TRY_STATUS(real("rope.scaling.yarn_beta_slow", c.rope.beta_slow));
  CORVID_TRY_STATUS(real("rope.scaling.yarn_log_multiplier", c.rope.mscale_all));
  if (c.rope.mscale_all != 0) c.rope.mscale = 1;
  double extrapolation = 1;
  CORVID_TRY_STATUS(real("rope.scaling.yarn_ext_factor", extrapolation));
  if (!kind) c.rope.scaling = c.rope.factor != 1 ? RopeScaling::linear : RopeScaling::none;
  else if (*kind == "none") c.rope.scaling = RopeScaling::none;
  else if (*kind == "linear") c.rope.scaling = RopeScaling::linear;
  else if (*kind == "yarn") c.rope.scaling = RopeScaling::yarn;
  else return fail(Error::unsupported("rope scaling of the kind \"" + std::string(*kind) + "\" is not supported").at_key(p + "rope.scaling.type"));
  if (c.rope.scaling == RopeScaling::yarn && extrapolation != 1) return fail(Error::unsupported("a YaRN extrapolation factor other than 1").at_key(p + "rope.scaling.yarn_ext_factor"));
  CORVID_TRY(const auto experts, maybe("expert_count", 0));
  if (experts > 0) return fail(Error::unsupported("mixtures of experts are not supported").at_key(p + "expert_count"));
  const TensorInfo* embedding = file.find("token_embd.weight");
  if (!embedding || embedding->shape.size() != 2) return fail(Error::bad_input("the model has no token embedding of two dimensions").at_key("token_embd.weight"));
  c.vocab = embedding->shape[0];
  c.local_rope = c.rope;
  if (c.architecture == "gemma3") {
    CORVID_TRY(c.window, maybe("attention.sliding_window", 0));
    CORVID_TRY(const auto pattern, maybe("attention.sliding_window_pattern", 6));
    if (pattern < 1) return fail(Error::bad_input("must be at least 1").at_key(p + "attention.sliding_window_pattern"));
    sliding_layers(c, pattern);
    CORVID_TRY(const auto local, m.real(p + "rope.freq_base_swa"));
    c.local_rope = RopeConfig{};
    c.local_rope.base = local.value_or(10000.0);
    CORVID_TRY(const auto cap, m.real(p + "final_logit_softcapping"));
    if (cap && *cap != 0) return fail(Error::unsupported("soft-capped logits").at_key(p + "final_logit_softcapping"));
  } else {
    sliding_layers(c, 1);
  }
  architecture_defaults(c);
  c.attention_scale = 1.0f / std::sqrt(static_cast<float>(std::max<std::int64_t>(c.head_dim, 1)));
  // The 27B model alone scales by its width per head.
  if (c.architecture == "gemma3" && c.layers == 62) c.attention_scale = 1.0f / std::sqrt(static_cast<float>(c.width / c.heads));
  CORVID_TRY_STATUS(check(c));
  return c;
}

// A number that a file may leave out or give as null.
double number(const Json& j, const char* key, double usual) {
  const auto at = j.find(key);
  return at == j.end() || at->is_null() ? usual : at->get<double>();
}

Status read_hub_rope(const Json& j, RopeConfig& r) {
  if (!j.is_object()) return {};
  r.base = number(j, "rope_theta", r.base);
  const std::string kind = j.contains("rope_type") ? j.value("rope_type", std::string("default")) : j.value("type", std::string("default"));
  r.factor = number(j, "factor", 0);
  if (kind == "default") r.scaling = RopeScaling::none;
  else if (kind == "linear") r.scaling = RopeScaling::linear;
  else if (kind == "llama3") r.scaling = RopeScaling::llama3;
  else if (kind == "yarn") r.scaling = RopeScaling::yarn;
  else return fail(Error::unsupported("rope scaling of the kind \"" + kind + "\" is not supported").at_key("rope_scaling"));
  if (number(j, "partial_rotary_factor", 1) != 1) return fail(Error::unsupported("rope over a part of each head").at_key("partial_rotary_factor"));
  r.low_freq_factor = number(j, "low_freq_factor", 1.0);
  r.high_freq_factor = number(j, "high_freq_factor", 4.0);
  r.beta_fast = number(j, "beta_fast", 32.0);
  r.beta_slow = number(j, "beta_slow", 1.0);
  r.truncate = j.value("truncate", true);
  r.attention_factor = number(j, "attention_factor", 0);
  r.mscale = number(j, "mscale", 0);
  r.mscale_all = number(j, "mscale_all_dim", 0);
  r.original_context = number(j, "original_max_position_embeddings", 0);
  return {};
}

// A scaling that leaves its factor or the original context unsaid: both follow from the context length.
Status complete_hub_rope(RopeConfig& r, std::int64_t context) {
  if (r.scaling == RopeScaling::none) r.factor = 1;
  const double longest = static_cast<double>(context);
  if (r.factor == 0 && r.scaling == RopeScaling::yarn && r.original_context > 0) r.factor = longest / r.original_context;
  if (r.factor == 0) return fail(Error::bad_input("the rope scaling has no factor").at_key("rope_scaling"));
  if (r.original_context == 0) r.original_context = longest;
  return {};
}

Status read_hub_activation(const Json& j, LlmConfig& c) {
  const bool gemma = c.architecture == "gemma3";
  const char* key = gemma ? "hidden_activation" : "hidden_act";
  const auto at = j.find(key);
  if (at == j.end() || at->is_null()) return {};
  const auto name = at->get<std::string>();
  if (name == "silu" || name == "swish") c.activation = ops::Activation::silu;
  else if (name == "gelu_pytorch_tanh" || name == "gelu_new") c.activation = ops::Activation::gelu_tanh;
  else return fail(Error::unsupported("the activation \"" + name + "\" is not supported").at_key(key));
  return {};
}

Result<LlmConfig> from_hub(const ModelFile& file) {
  const Json& whole = file.config();
  std::string name = whole.value("model_type", std::string());
  // A model of several modalities keeps its language model's settings by themselves.
  const bool inner = name == "gemma3" && whole.contains("text_config") && whole["text_config"].is_object();
  const Json& j = inner ? whole["text_config"] : whole;
  LlmConfig c;
  c.hub = true;
  if (name == "gemma3_text") name = "gemma3";
  if (!known(name)) return fail(bad_architecture(name).at_key("model_type"));
  c.architecture = name;
  const auto integer = [&](const char* key, std::int64_t& out, std::optional<std::int64_t> usual = std::nullopt) -> Status {
    if (!j.contains(key) || j[key].is_null()) {
      if (!usual) return fail(Error::bad_input("config.json does not say this").at_key(key));
      out = *usual;
      return {};
    }
    if (!j[key].is_number_integer()) return fail(Error::bad_input("must be a whole number").at_key(key));
    out = j[key].get<std::int64_t>();
    return {};
  };
  CORVID_TRY_STATUS(integer("num_hidden_layers", c.layers));
  CORVID_TRY_STATUS(integer("hidden_size", c.width));
  CORVID_TRY_STATUS(integer("intermediate_size", c.ffn));
  CORVID_TRY_STATUS(integer("num_attention_heads", c.heads));
  if (c.heads < 1) return fail(Error::bad_input("the model has no attention heads").at_key("num_attention_heads"));
  CORVID_TRY_STATUS(integer("num_key_value_heads", c.kv_heads, c.heads));
  CORVID_TRY_STATUS(integer("head_dim", c.head_dim, c.architecture == "gemma3" ? 256 : c.width / c.heads));
  CORVID_TRY_STATUS(integer("vocab_size", c.vocab));
  CORVID_TRY_STATUS(integer("max_position_embeddings", c.context, 2048));
  if (c.layers < 1 || c.layers > kMaxLayers) return fail(Error::bad_input("must be from 1 to " + std::to_string(kMaxLayers)).at_key("num_hidden_layers"));
  for (const char* key : {"mlp_bias", "use_bidirectional_attention"}) {
    if (const auto at = j.find(key); at != j.end() && at->is_boolean() && at->get<bool>()) return fail(Error::unsupported(std::string(key) + " in this architecture").at_key(key));
  }
  if (const Json& holder = inner && whole.contains("tie_word_embeddings") ? whole : j; holder.contains("tie_word_embeddings") && holder["tie_word_embeddings"].is_boolean()) {
    c.tied = holder["tie_word_embeddings"].get<bool>();
  } else if (c.architecture == "gemma3") {
    c.tied = true;
  }
  c.rope_dims = c.head_dim;
  c.eps = static_cast<float>(number(j, "rms_norm_eps", 1e-6));
  c.rope.base = number(j, "rope_theta", c.architecture == "gemma3" ? 1e6 : 10000.0);
  c.local_rope.base = 10000;
  const Json parameters = j.value("rope_parameters", Json());
  const bool layered = parameters.is_object() && parameters.contains("full_attention");
  if (layered) {
    CORVID_TRY_STATUS(read_hub_rope(parameters["full_attention"], c.rope));
    CORVID_TRY_STATUS(read_hub_rope(parameters.value("sliding_attention", Json()), c.local_rope));
  } else if (parameters.is_object()) {
    CORVID_TRY_STATUS(read_hub_rope(parameters, c.rope));
  }
  CORVID_TRY_STATUS(read_hub_rope(j.value("rope_scaling", Json()), c.rope));
  CORVID_TRY_STATUS(complete_hub_rope(c.rope, c.context));
  CORVID_TRY_STATUS(complete_hub_rope(c.local_rope, c.context));
  architecture_defaults(c);
  CORVID_TRY_STATUS(read_hub_activation(j, c));
  c.attention_scale = 1.0f / std::sqrt(static_cast<float>(std::max<std::int64_t>(c.head_dim, 1)));
  if (c.architecture == "gemma3") {
    c.attention_scale = static_cast<float>(1.0 / std::sqrt(number(j, "query_pre_attn_scalar", 256.0)));
    CORVID_TRY_STATUS(integer("sliding_window", c.window, 4096));
    if (!layered) c.local_rope.base = number(j, "rope_local_base_freq", 10000.0);
    std::int64_t pattern = 6;
    CORVID_TRY_STATUS(integer("sliding_window_pattern", pattern, 6));
    if (pattern < 1) return fail(Error::bad_input("must be at least 1").at_key("sliding_window_pattern"));
    sliding_layers(c, pattern);
    if (const Json types = j.value("layer_types", Json()); types.is_array() && types.size() == static_cast<std::size_t>(c.layers)) {
      for (std::size_t i = 0; i < types.size(); ++i) c.sliding[i] = types[i] == "sliding_attention";
    }
    for (const char* key : {"final_logit_softcapping", "attn_logit_softcapping"}) {
      if (number(j, key, 0) != 0) return fail(Error::unsupported("soft-capped logits").at_key(key));
    }
  } else {
    c.local_rope = c.rope;
    sliding_layers(c, 1);
    if (j.value("use_sliding_window", false)) return fail(Error::unsupported("a sliding window in this architecture").at_key("use_sliding_window"));
  }
  CORVID_TRY_STATUS(check(c));
  return c;
}

}  // namespace

Result<LlmConfig> read_config(const ModelFile& file) {
  Result<LlmConfig> config;
  try {
    if (file.format() == ModelFormat::safetensors) return fail(Error::unsupported("a safetensors file alone does not say what model it is; give its folder with config.json").at_file(file.path().string()));
    config = file.format() == ModelFormat::gguf ? from_gguf(file) : from_hub(file);
  } catch (const Json::exception& e) {
    return fail(Error::bad_input(std::string("config.json has a value of another type than its key asks for: ") + e.what()).at_file(file.path().string()));
  }
  if (!config) return fail(std::move(config).error().at_file(file.path().string()));
  return config;
}

RopeTable rope_table(const RopeConfig& rope, std::int64_t dims, std::span<const float> factors) {
  RopeTable table;
  const double d = static_cast<double>(dims);
  // YaRN (Peng et al. 2023, section 3.2): pairs that turn more than beta_fast times over the original context keep their frequency,
  // those under beta_slow are interpolated, a ramp lies between.
  double low = 0, high = 0;
  if (rope.scaling == RopeScaling::yarn) {
    const auto pair_of = [&](double turns) { return d * std::log(rope.original_context / (turns * 2 * std::numbers::pi)) / (2 * std::log(rope.base)); };
    low = pair_of(rope.beta_fast);
    high = pair_of(rope.beta_slow);
    if (rope.truncate) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(0.0, low);
    high = std::min(d - 1, high);
    if (high == low) high = low + 0.001;
    const auto factor_of = [&](double scale) { return rope.factor > 1 ? 0.1 * scale * std::log(rope.factor) + 1 : 1.0; };
    const double usual = rope.mscale != 0 && rope.mscale_all != 0 ? factor_of(rope.mscale) / factor_of(rope.mscale_all) : factor_of(1);
    table.magnitude = static_cast<float>(rope.attention_factor > 0 ? rope.attention_factor : usual);
  }
  table.magnitude *= static_cast<float>(rope.multiplier);
  for (std::int64_t i = 0; i < dims / 2; ++i) {
    double frequency = std::pow(rope.base, -2.0 * static_cast<double>(i) / d);
    if (static_cast<std::size_t>(i) < factors.size()) frequency /= factors[static_cast<std::size_t>(i)];
    switch (rope.scaling) {
      case RopeScaling::none: break;
      case RopeScaling::linear: frequency /= rope.factor; break;
      case RopeScaling::llama3: {
        const double wavelength = 2 * std::numbers::pi / frequency;
        const double long_wave = rope.original_context / rope.low_freq_factor, short_wave = rope.original_context / rope.high_freq_factor;
        if (wavelength > long_wave) {
          frequency /= rope.factor;
        } else if (wavelength > short_wave) {
          const double smooth = (rope.original_context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
          frequency = (1 - smooth) * frequency / rope.factor + smooth * frequency;
        }
        break;
      }
      case RopeScaling::yarn: {
        const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        frequency = frequency / rope.factor * ramp + frequency * (1 - ramp);
        break;
      }
    }
    table.inverse_frequencies.push_back(static_cast<float>(frequency));
  }
  return table;
}

}  // namespace corvid::llm
