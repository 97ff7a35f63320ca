#include "retrieval/load/source_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace corvid::retrieval {
namespace {

struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

std::vector<std::uint64_t> find_newlines(std::string_view text) {
  std::vector<std::uint64_t> out;
  for (std::size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) out.push_back(at);
  return out;
}

Result<SourceFile> SourceFile::read(const std::filesystem::path& path, const LoadLimits& limits) {
  const std::string name = path.string();
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};  // a FIFO must not hold us
  if (file.fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return fail(Error::not_found("no such file").at_file(name));
    return fail(Error::io(std::string("cannot open: ") + std::strerror(errno)).at_file(name));
  }
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) return fail(Error::io(std::string("cannot stat: ") + std::strerror(errno)).at_file(name));
  if (!S_ISREG(info.st_mode)) return fail(Error::unsupported("not a regular file").at_file(name));
  const auto too_large = [&](std::uint64_t size) {
    return fail(Error::limit_exceeded(std::to_string(size) + " bytes; a document may have " + std::to_string(limits.max_file_bytes)).at_file(name));
  };
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size > limits.max_file_bytes) return too_large(size);
  SourceFile out;
  out.path = path;
  out.mtime = static_cast<std::int64_t>(info.st_mtime);
  out.bytes.resize(static_cast<std::size_t>(size) + 1);  // one more shows a file that grew
  std::size_t got = 0;
  while (true) {
    if (got == out.bytes.size()) {
      if (got > limits.max_file_bytes) return too_large(got);
      out.bytes.resize(std::min<std::size_t>(got * 2, static_cast<std::size_t>(limits.max_file_bytes) + 1));
    }
    const ssize_t n = ::read(file.fd, out.bytes.data() + got, out.bytes.size() - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(Error::io(std::string("cannot read: ") + std::strerror(errno)).at_file(name));
    if (n == 0) break;
    got += static_cast<std::size_t>(n);
  }
  out.bytes.resize(got);
  out.newlines_ = find_newlines(out.bytes);
  return out;
}

std::uint64_t SourceFile::line_of(std::uint64_t offset) const {
  return static_cast<std::uint64_t>(std::lower_bound(newlines_.begin(), newlines_.end(), offset) - newlines_.begin()) + 1;
}

LineRange SourceFile::lines(ByteRange range) const {
  return {line_of(range.begin), line_of(range.end > range.begin ? range.end - 1 : range.begin)};
}

Element SourceFile::element(ByteRange range, std::vector<std::string> heading) const {
  Element out;
  out.text = bytes.substr(static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.end - range.begin));
  out.bytes = range;
  out.lines = lines(range);
  out.heading = std::move(heading);
  return out;
}

Error too_many_elements(const LoadLimits& limits) {
  return Error::limit_exceeded("more than " + std::to_string(limits.max_elements) + " sections or records; split the file");
}

std::string collapse_space(std::string_view text) {
  std::string out;
  bool space = false;
  for (const char c : text) {
    if (c == ' ' || (c >= '\t' && c <= '\r')) {
      space = !out.empty();
    } else {
      if (space) out += ' ';
      space = false;
      out += c;
    }
  }
  return out;
}

}  // namespace corvid::retrieval
