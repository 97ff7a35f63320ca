// corvid embed: one text a line to one unit vector a line.
#include <algorithm>
#include <cstdio>

#include "apps/cli/command.hpp"
#include "apps/cli/models.hpp"
#include "apps/cli/session.hpp"
#include "corvid/embed/text_embedder.hpp"

namespace corvid::cli {

namespace {

/// Only \n ends a line; an empty line is an empty text; a last line needs no \n.
std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

class Embed final : public Command {
 public:
  CommandInfo info() const override { return {"embed", "texts on standard input, one a line, to vectors", "  corvid embed --json < texts\n  echo hello | corvid embed --model all-MiniLM-L6-v2 --precision f32 --json"}; }
  void options(OptionSet& set) override {
    set.text("model", model_, "hub folder of an encoder, or a name in the model folder");
    compute_.declare(set);
  }
  Status run(Session& session) override {
    CORVID_TRY(const auto folder, find_model(model_));
    CORVID_TRY(const auto embedder, load_embedder(session, folder, compute_, false));
    CORVID_TRY(const std::string text, read_stdin());
    const auto texts = lines_of(text);
    CORVID_TRY(const auto result, embedder->embed(texts, session.cancellation(), session.progress()));
    session.end_progress();
    const std::size_t width = embedder->dimension();
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const auto* row = result.values.data() + i * width;
      if (session.json) {
        CORVID_TRY_STATUS(session.write_json(Json(std::vector<float>(row, row + width))));
        continue;
      }
      std::string line;
      for (std::size_t j = 0; j < width; ++j) {
        char number[24];
        std::snprintf(number, sizeof number, j ? " %.6f" : "%.6f", static_cast<double>(row[j]));
        line += number;
      }
      CORVID_TRY_STATUS(session.write_line(line));
    }
    const auto cut = std::count(result.cut.begin(), result.cut.end(), true);
    if (cut > 0) session.note(std::to_string(cut) + " of " + std::to_string(texts.size()) + " texts were cut at " + std::to_string(embedder->max_tokens()) + " tokens");
    return {};
  }

 private:
  std::string model_ = kDefaultEmbedder;
  ComputeOptions compute_;
};

}  // namespace

std::unique_ptr<Command> make_embed() { return std::make_unique<Embed>(); }

}  // namespace corvid::cli
