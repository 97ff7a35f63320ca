#include "corvid/llm/chat_template.hpp"

#include "llm/chat_template/interpreter.hpp"
#include "llm/chat_template/parser.hpp"

namespace corvid {

using llm::tmpl::Failure;

struct ChatTemplate::Program {
  std::string source;
  ChatTemplateLimits limits;
  llm::tmpl::Body body;
};

namespace {

constexpr std::size_t kMostSourceBytes = std::size_t{4} << 20;

// As the templates' environment reads a source: \n line ends, the last one dropped.
std::string normalised(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

// Limits above these would outgrow a thread's stack or the address space.
Status check(const ChatTemplateLimits& limits) {
  if (limits.max_depth == 0 || limits.max_depth > 200) return fail(Error::invalid_argument("max_depth must be 1 … 200").at_key("max_depth"));
  if (limits.max_output_bytes == 0 || limits.max_output_bytes > (std::size_t{1} << 30)) {
    return fail(Error::invalid_argument("max_output_bytes must be 1 … 2^30").at_key("max_output_bytes"));
  }
  if (limits.max_range > 100'000'000) return fail(Error::invalid_argument("max_range must be at most 10^8").at_key("max_range"));
  return {};
}

}  // namespace

ChatTemplate::ChatTemplate(std::unique_ptr<Program> program) : program_(std::move(program)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string source, ChatTemplateLimits limits) {
  CORVID_TRY_STATUS(check(limits));
  if (source.size() > kMostSourceBytes) {
    return fail(Error::limit_exceeded("the chat template has " + std::to_string(source.size()) + " bytes; at most " + std::to_string(kMostSourceBytes) + " are read"));
  }
  auto program = std::make_unique<Program>();
  program->limits = limits;
  try {
    program->body = llm::tmpl::parse(normalised(source), limits.max_depth);
  } catch (Failure& failure) {
    return fail(std::move(failure.error));
  }
  program->source = std::move(source);
  return ChatTemplate(std::move(program));
}

Result<std::string> ChatTemplate::render(const ChatTemplateInputs& inputs) const {
  CORVID_TRY(auto rendered, render_marked(inputs));
  return std::move(rendered.text);
}

Result<RenderedChat> ChatTemplate::render_marked(const ChatTemplateInputs& inputs) const {
  if (!inputs.extra.is_object() && !inputs.extra.is_null()) return fail(Error::invalid_argument("further template variables are not an object").at_key("extra"));
  try {
    llm::tmpl::Interpreter interpreter(program_->limits, inputs.now);
    auto text = interpreter.render(program_->body, inputs);
    RenderedChat out;
    out.input = std::move(text.input);
    out.text = std::move(static_cast<std::string&>(text));
    return out;
  } catch (Failure& failure) {
    return fail(std::move(failure.error));
  }
}

const std::string& ChatTemplate::source() const noexcept { return program_->source; }

}  // namespace corvid
