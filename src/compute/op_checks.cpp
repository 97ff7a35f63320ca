#include "op_checks.hpp"

namespace corvid::detail {

Status require_cpu(const OpContext& ctx, const char* op) {
  if (ctx.device.is_cpu()) return {};
  return fail(Error::unsupported(std::string(op) + " on " + to_string(ctx.device) +
                                 ": this build has no CUDA member for it; choose the device \"cpu\""));
}

}  // namespace corvid::detail
