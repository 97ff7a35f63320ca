// walk: the files that an ingest of some paths takes, in order, and what it leaves out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/result.hpp"

namespace corvid::retrieval {

struct WalkFailure {
  std::string path;
  Error error;
};

struct WalkResult {
  std::vector<std::filesystem::path> roots;  ///< absolute, links resolved; also those that do not exist
  std::vector<std::filesystem::path> files;  ///< absolute, sorted by bytes, each once
  std::uint64_t skipped = 0;                 ///< hidden, ignored, binary, links out; a folder left out counts once
  std::vector<WalkFailure> failed;           ///< unreadable folders, paths that do not exist
};

/// A path named outright is taken though it be hidden or ignored. Inside a folder: hidden names, .gitignore'd ones (the files of enclosing
/// folders up to a repository's root count too), binary files (a NUL in the first 8 KiB, PDFs aside), devices and links that lead out of the
/// folder are skipped; a link to a file inside it stands for that file.
Result<WalkResult> walk(const std::vector<std::filesystem::path>& paths, const CancellationToken& cancellation = {});

/// Absolute and normal, links of the part that exists resolved.
std::filesystem::path absolute_path(const std::filesystem::path& path);
/// `path` is `root` or lies below it. Both as absolute_path() gives them.
bool lies_under(const std::filesystem::path& path, const std::filesystem::path& root);

}  // namespace corvid::retrieval
