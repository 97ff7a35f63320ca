#include "corvid/graphs/value.hpp"

#include <string>

namespace corvid::detail {

Error json_mismatch(std::string_view wanted, const char* why) {
  return Error::bad_input("expected a value of type " + std::string(wanted) + ": " + why);
}

Error not_json(const char* why) { return Error::bad_input(std::string("a value cannot be written as JSON: ") + why); }

}  // namespace corvid::detail
