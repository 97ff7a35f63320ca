#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "corvid/graphs/savers.hpp"

namespace corvid {
namespace {

constexpr std::string_view kAdvice = "; make one with: openssl rand -hex 32";

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Result<EncryptionKey> read_encryption_key(const std::filesystem::path& file) {
  const auto refuse = [&](Error error) { return fail(std::move(error).at_file(file.string())); };
  struct Descriptor {
    int number;
    ~Descriptor() {
      if (number >= 0) ::close(number);
    }
  } const in{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
  if (in.number < 0) {
    const int why = errno;
    const std::string text = std::string("cannot read the key's file: ") + std::strerror(why);
    return refuse(why == ENOENT ? Error::not_found(text + std::string(kAdvice)) : Error::io(text));
  }
  struct stat status {};
  if (::fstat(in.number, &status) != 0 || !S_ISREG(status.st_mode))
    return refuse(Error::bad_input("the key is not in a regular file" + std::string(kAdvice)));
  if ((status.st_mode & 077) != 0) return refuse(Error::bad_input("others may read the key's file; run chmod 600 on it"));
  char text[80];  // 64 digits and a line's end, or 32 bytes
  std::size_t size = 0;
  while (size < sizeof text) {
    const auto n = ::read(in.number, text + size, sizeof text - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return refuse(Error::io(std::string("cannot read the key's file: ") + std::strerror(errno)));
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  EncryptionKey key{};
  if (size == key.size()) {
    std::memcpy(key.data(), text, key.size());
    return key;
  }
  std::string_view digits(text, size);
  while (!digits.empty() && (digits.back() == '\n' || digits.back() == '\r' || digits.back() == ' ')) digits.remove_suffix(1);
  bool good = digits.size() == 2 * key.size();
  for (std::size_t i = 0; good && i < key.size(); ++i) {
    const int high = digit(digits[2 * i]), low = digit(digits[2 * i + 1]);
    good = high >= 0 && low >= 0;
    if (good) key[i] = static_cast<std::byte>(16 * high + low);
  }
  if (!good) return refuse(Error::bad_input("not a key: 64 hexadecimal digits or 32 bytes are expected" + std::string(kAdvice)));
  return key;
}

}  // namespace corvid
