#include "corvid/compute/buffer.hpp"

#include <cstdlib>
#include <cstring>
#include <limits>

#include "device_stream.hpp"

namespace corvid {

namespace {

constexpr std::uint64_t kAlignment = 256;

}  // namespace

Result<Buffer> allocate(const OpContext& ctx, std::uint64_t bytes, MemoryBudget& budget, std::string_view owner) {
  if (bytes > std::numeric_limits<std::uint64_t>::max() / 2) return fail(Error::out_of_memory(std::string(owner) + " needs more bytes than there are addresses"));
  const std::uint64_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment + (bytes == 0 ? kAlignment : 0);
  Buffer buffer;
  CORVID_TRY(buffer.reservation_, budget.reserve(size, owner));
  if (ctx.device.is_cpu()) {
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(kAlignment, size));
    if (!memory) return fail(Error::out_of_memory(std::string(owner) + ": the system has no " + std::to_string(size) + " bytes left"));
    buffer.memory_ = std::shared_ptr<std::byte>(memory, [](std::byte* p) { std::free(p); });
  } else {
    CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "allocate"));
    auto memory = stream->allocate(size);
    if (!memory) return fail(Error::out_of_memory(std::string(owner) + " on " + to_string(ctx.device)).caused_by(memory.error()));
    std::shared_ptr<Stream> keep = stream->shared_from_this();
    buffer.memory_ = std::shared_ptr<std::byte>(*memory, [keep, stream](std::byte* p) { stream->deallocate(p); });
  }
  buffer.bytes_ = bytes;
  buffer.device_ = ctx.device;
  return buffer;
}

Status upload(const OpContext& ctx, void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return {};
  if (ctx.device.is_cpu()) {
    std::memcpy(to, from, bytes);
    return {};
  }
  CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "upload"));
  return stream->upload(to, from, bytes);
}

Status download(const OpContext& ctx, void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return {};
  if (ctx.device.is_cpu()) {
    std::memcpy(to, from, bytes);
    return {};
  }
  CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "download"));
  return stream->download(to, from, bytes);
}

Status copy(const OpContext& ctx, void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return {};
  if (ctx.device.is_cpu()) {
    std::memmove(to, from, bytes);
    return {};
  }
  CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "copy"));
  return stream->copy(to, from, bytes);
}

}  // namespace corvid
