// Forkable, Checkpointable, ModelState: state that is more than data: a model's KV cache with its tokens, sampler and grammar.
//
// llm's Sequence is one; graphs carry it on their edges without knowing what it is.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "corvid/base/result.hpp"

namespace corvid {

class ModelState;

class Forkable {
 public:
  virtual ~Forkable() = default;
  /// Another handle on the same contents: what is common is shared until one of the two changes it. Errors: out_of_memory.
  virtual Result<std::shared_ptr<ModelState>> fork_state() const = 0;
};

class Checkpointable {
 public:
  virtual ~Checkpointable() = default;
  /// Everything that is needed to go on in another process. Errors: out_of_memory, io.
  virtual Result<std::vector<std::byte>> save_state() const = 0;
  /// Names who can read what save_state() gave: "sequence".
  virtual std::string_view state_kind() const noexcept = 0;
};

class ModelState : public Forkable, public Checkpointable {};

}  // namespace corvid
