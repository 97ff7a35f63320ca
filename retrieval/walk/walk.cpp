#include "retrieval/walk/walk.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include "corvid/retrieval/loader.hpp"
#include "retrieval/walk/gitignore.hpp"

namespace corvid::retrieval {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kSniffBytes = 8192;                  // as git does
constexpr std::uintmax_t kMaxIgnoreFileBytes = 1u << 20;
constexpr int kMaxDepth = 512;                             // of folders; the recursion's bound

struct Scope {
  fs::path folder;
  GitIgnore rules;
};

std::optional<Scope> read_scope(const fs::path& folder) {
  std::error_code ec;
  const fs::path file = folder / ".gitignore";
  if (!fs::is_regular_file(file, ec)) return std::nullopt;
  const auto size = fs::file_size(file, ec);
  if (ec || size > kMaxIgnoreFileBytes) return std::nullopt;
  std::ifstream in(file, std::ios::binary);
  std::string text(static_cast<std::size_t>(size), '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  return Scope{folder, GitIgnore::parse(text)};
}

bool looks_binary(const fs::path& path) {
  if (document_type(path) == "pdf") return false;
  std::ifstream in(path, std::ios::binary);
  std::array<char, kSniffBytes> head{};
  in.read(head.data(), static_cast<std::streamsize>(head.size()));
  const auto got = in.gcount();
  return got > 0 && std::memchr(head.data(), 0, static_cast<std::size_t>(got)) != nullptr;
}

class Walker {
 public:
  Walker(WalkResult& out, const CancellationToken& cancellation) : out_(out), cancellation_(cancellation) {}

  Status take_root(const fs::path& root) {
    std::error_code ec;
    const auto status = fs::status(root, ec);
    if (status.type() == fs::file_type::not_found) {
      out_.failed.push_back({root.string(), Error::not_found("no such file or folder; check the path").at_file(root.string())});
    } else if (status.type() == fs::file_type::directory) {
      root_ = root;
      scopes_ = enclosing(root);
      return folder(root, 0);
    } else if (status.type() == fs::file_type::regular) {
      if (looks_binary(root)) ++out_.skipped;
      else out_.files.push_back(root);
    } else {
      out_.failed.push_back({root.string(), Error::unsupported("neither a file nor a folder").at_file(root.string())});
    }
    return {};
  }

 private:
  // The .gitignore files above `root`, where it lies inside a repository.
  static std::vector<Scope> enclosing(const fs::path& root) {
    std::error_code ec;
    std::vector<fs::path> above;
    if (fs::exists(root / ".git", ec)) return {};
    bool repository = false;
    for (fs::path at = root.parent_path(); !repository; at = at.parent_path()) {
      above.push_back(at);
      repository = fs::exists(at / ".git", ec);
      if (at == at.parent_path()) break;
    }
    std::vector<Scope> scopes;
    if (!repository) return scopes;
    for (auto at = above.rbegin(); at != above.rend(); ++at)
      if (auto scope = read_scope(*at)) scopes.push_back(std::move(*scope));
    return scopes;
  }

  bool ignored(const fs::path& path, bool is_directory) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      const std::string relative = path.lexically_relative(scope->folder).generic_string();
      if (const auto decision = scope->rules.decide(relative, is_directory)) return *decision;
    }
    return false;
  }

  Status folder(const fs::path& path, int depth) {
    CORVID_TRY_STATUS(cancellation_.check());
    if (depth > kMaxDepth) {
      out_.failed.push_back({path.string(), Error::limit_exceeded("folders nested more than 512 deep").at_file(path.string())});
      return {};
    }
    std::error_code ec;
    std::vector<fs::directory_entry> entries;
    for (fs::directory_iterator it(path, ec), end; !ec && it != end; it.increment(ec)) entries.push_back(*it);
    if (ec) {
      out_.failed.push_back({path.string(), Error::io("cannot read the folder: " + ec.message()).at_file(path.string())});
      return {};
    }
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.path().native() < b.path().native(); });
    auto scope = read_scope(path);
    const bool scoped = scope && !scope->rules.empty();
    if (scoped) scopes_.push_back(std::move(*scope));
    for (const auto& entry : entries) CORVID_TRY_STATUS(one(entry, depth));
    if (scoped) scopes_.pop_back();
    return {};
  }

  Status one(const fs::directory_entry& entry, int depth) {
    std::error_code ec;
    const fs::path& path = entry.path();
    const auto type = entry.symlink_status(ec).type();
    const bool is_directory = type == fs::file_type::directory;
    if (path.filename().native().front() == '.' || ignored(path, is_directory)) {
      ++out_.skipped;
    } else if (is_directory) {
      return folder(path, depth + 1);
    } else if (type == fs::file_type::symlink) {
      const fs::path target = fs::canonical(path, ec);
      if (ec || !lies_under(target, root_)) {
        ++out_.skipped;
      } else if (fs::is_regular_file(target, ec)) {
        if (looks_binary(target)) ++out_.skipped;
        else out_.files.push_back(target);
      }  // A folder inside is reached by its own path.
    } else if (type != fs::file_type::regular || looks_binary(path)) {
      ++out_.skipped;
    } else {
      out_.files.push_back(path);
    }
    return {};
  }

  WalkResult& out_;
  const CancellationToken& cancellation_;
  fs::path root_;
  std::vector<Scope> scopes_;
};

}  // namespace

fs::path absolute_path(const fs::path& path) {
  std::error_code ec;
  fs::path out = fs::weakly_canonical(path, ec);
  if (ec || out.empty()) out = path;
  out = fs::absolute(out, ec).lexically_normal();
  if (!out.has_filename() && out.has_relative_path()) out = out.parent_path();  // "docs/" is "docs"
  return out;
}

bool lies_under(const fs::path& path, const fs::path& root) {
  const std::string& p = path.native();
  const std::string& r = root.native();
  if (p.size() < r.size() || p.compare(0, r.size(), r) != 0) return false;
  return p.size() == r.size() || r.back() == '/' || p[r.size()] == '/';
}

Result<WalkResult> walk(const std::vector<fs::path>& paths, const CancellationToken& cancellation) {
  WalkResult out;
  for (const auto& path : paths) {
    const fs::path root = absolute_path(path);
    // The same path twice is walked once; nested ones are merged by the sort below.
    const bool covered = std::any_of(out.roots.begin(), out.roots.end(), [&](const fs::path& known) { return known == root; });
    if (covered) continue;
    out.roots.push_back(root);
    Walker walker(out, cancellation);
    CORVID_TRY_STATUS(walker.take_root(root));
  }
  std::sort(out.files.begin(), out.files.end(), [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  out.files.erase(std::unique(out.files.begin(), out.files.end()), out.files.end());
  return out;
}

}  // namespace corvid::retrieval
