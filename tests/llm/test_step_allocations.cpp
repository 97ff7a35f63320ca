// A step of the engine on the CPU allocates nothing once its lists and scratch have their size.
#include <atomic>
#include <cstdlib>
#include <new>

#include "corvid/tensor/model_file.hpp"
#include "llm/engine/step.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"
#include "support/tiny_models.hpp"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {
std::atomic<std::int64_t> allocations{0};
}

// This program's own: every allocation of C++ code is counted.
void* operator new(std::size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  const auto step = static_cast<std::size_t>(alignment);
  if (void* memory = std::aligned_alloc(step, (bytes + step - 1) / step * step)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

using namespace corvid;
using namespace corvid::test;

TEST_CASE("engine step: decoding and prefill allocate nothing") {
  const TempDir dir;
  const TinyModels tiny;
  for (const char* name : {"llama-tied", "gemma3-window-8"}) {
    for (const auto precision : {Precision::fast, Precision::f32}) {
      INFO(name);
      const auto path = dir / "model.gguf";
      write_file(path, tiny.gguf(tiny.decoder(name)).bytes());
      const auto file = ModelFile::open(path);
      REQUIRE(file);
      const auto config = llm::read_config(**file);
      REQUIRE(config);
      ComputePool pool(2);
      MemoryBudget budget{std::uint64_t{1} << 30};
      OpContext ctx;
      ctx.precision = precision;
      ctx.pool = &pool;
      auto decoder = llm::Decoder::load(ctx, *file, *config, {64, 16, false}, budget, {});
      REQUIRE(decoder);
      llm::Stepper stepper(ctx, nullptr, std::move(*decoder));
      llm::PageShape shape{config->layers, config->kv_heads, 16, config->head_dim, precision == Precision::f32 ? DType::f32 : DType::f16};
      auto pages = llm::PagePool::make(ctx, shape, 16, budget);
      REQUIRE(pages);
      llm::TokenRun run(*pages);
      std::vector<float> logits;
      std::vector<TokenId> prompt;
      for (int i = 0; i < 40; ++i) prompt.push_back(static_cast<TokenId>(3 + i * 7 % 100));
      const auto go = [&] {
        bool done = stepper.prefill(run, prompt, 16, {}, logits).has_value();
        for (int i = 0; i < 60; ++i) {
          const TokenId id = static_cast<TokenId>(3 + i % 90);
          llm::Stepper::Part part;
          part.run = &run;
          part.ids = std::span(&id, 1);
          done = done && stepper.step(std::span(&part, 1), logits).has_value();
        }
        return done;
      };
      REQUIRE(go());
      run.truncate(0);
      const auto before = allocations.load();
      const bool again = go();
      const auto made = allocations.load() - before;
      CHECK(again);
      CHECK(made == 0);
    }
  }
}

#endif
