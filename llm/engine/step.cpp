#include "llm/engine/step.hpp"

#include <algorithm>

namespace corvid::llm {

TokenRun TokenRun::fork() const {
  TokenRun copy(pool_);
  copy.ids = ids;
  copy.pages = pages;
  for (const PageId page : pages) pool_->retain(page);
  return copy;
}

void TokenRun::clear() {
  if (pool_) for (const PageId page : pages) pool_->release(page);
  pages.clear();
  ids.clear();
}

void TokenRun::truncate(std::size_t tokens) {
  if (tokens >= ids.size()) return;
  const auto page_tokens = static_cast<std::size_t>(pool_->shape().page_tokens);
  const std::size_t keep = (tokens + page_tokens - 1) / page_tokens;
  while (pages.size() > keep) {
    pool_->release(pages.back());
    pages.pop_back();
  }
  ids.resize(tokens);
}

Status TokenRun::reserve(std::size_t more) {
  const auto page_tokens = static_cast<std::size_t>(pool_->shape().page_tokens);
  if (ids.size() % page_tokens != 0 && pool_->shared(pages[ids.size() / page_tokens])) {
    CORVID_TRY(const PageId own, pool_->acquire());
    PageId& last = pages[ids.size() / page_tokens];
    if (auto copied = pool_->copy(last, own); !copied) {
      pool_->release(own);
      return copied;
    }
    pool_->release(last);
    last = own;
  }
  const std::size_t wanted = (ids.size() + more + page_tokens - 1) / page_tokens;
  const std::size_t before = pages.size();
  while (pages.size() < wanted) {
    auto page = pool_->acquire();
    if (!page) {
      while (pages.size() > before) {
        pool_->release(pages.back());
        pages.pop_back();
      }
      return fail(std::move(page).error());
    }
    pages.push_back(*page);
  }
  return {};
}

Status Stepper::step(std::span<Part> parts, std::vector<float>& logits) {
  StepBatch& batch = batch_;
  for (auto* list : {&batch.ids, &batch.positions, &batch.row_offsets, &batch.page_table, &batch.logit_rows}) list->clear();
  batch.max_pages = 0;
  batch.row_offsets.push_back(0);
  for (auto& part : parts) {
    CORVID_TRY_STATUS(part.run->reserve(part.ids.size()));
    batch.max_pages = std::max(batch.max_pages, static_cast<std::int64_t>(part.run->pages.size()));
  }
  for (const auto& part : parts) {
    const auto first = static_cast<std::int32_t>(part.run->ids.size());
    for (std::size_t i = 0; i < part.ids.size(); ++i) {
      batch.positions.push_back(first + static_cast<std::int32_t>(i));
      if (part.all_logits || (part.last_logits && i + 1 == part.ids.size())) batch.logit_rows.push_back(static_cast<std::int32_t>(batch.ids.size()));
      batch.ids.push_back(part.ids[i]);
    }
    batch.row_offsets.push_back(static_cast<std::int32_t>(batch.ids.size()));
    for (std::int64_t p = 0; p < batch.max_pages; ++p) {
      const auto at = static_cast<std::size_t>(p);
      batch.page_table.push_back(at < part.run->pages.size() ? part.run->pages[at] : 0);
    }
  }
  CORVID_TRY_STATUS(decoder_->forward(ctx_, batch, *parts[0].run->pool(), logits));
  for (auto& part : parts) part.run->ids.insert(part.run->ids.end(), part.ids.begin(), part.ids.end());
  return {};
}

Status Stepper::prefill(TokenRun& run, std::span<const TokenId> ids, std::size_t chunk, const CancellationToken& cancellation,
                        std::vector<float>& last) {
  const std::size_t before = run.ids.size();
  for (std::size_t at = 0; at < ids.size(); at += chunk) {
    Part part;
    part.run = &run;
    part.ids = ids.subspan(at, std::min(chunk, ids.size() - at));
    part.last_logits = at + chunk >= ids.size();
    auto status = cancellation.check();
    if (status) status = step(std::span(&part, 1), last);
    if (!status) {
      run.truncate(before);
      return status;
    }
  }
  return {};
}

}  // namespace corvid::llm
