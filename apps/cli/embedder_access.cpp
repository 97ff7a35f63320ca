#include "apps/cli/models.hpp"
#include "apps/cli/session.hpp"
#include "corvid/embed/text_embedder.hpp"

namespace corvid::cli {

namespace fs = std::filesystem;

Result<std::shared_ptr<TextEmbedder>> load_embedder(Session& session, const fs::path& folder, const ComputeOptions& options, bool unit_vectors) {
  EmbedderOptions embedder_options;
  CORVID_TRY(embedder_options.device, parse_device(options.device));
  embedder_options.precision = options.precision == "f32" ? Precision::f32 : Precision::fast;
  embedder_options.unit_vectors = unit_vectors;
  embedder_options.progress = session.progress();
  auto embedder = TextEmbedder::load(session.runtime(options.threads), folder, std::move(embedder_options));
  session.end_progress();
  return embedder;
}

}  // namespace corvid::cli
