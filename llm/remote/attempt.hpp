// One HTTP exchange of a Transfer.
#pragma once

#include <string>
#include <string_view>

#include "llm/remote/protocol.hpp"
#include "llm/remote/sse.hpp"
#include "llm/remote/transfer.hpp"

namespace httplib {
struct Request;
struct Response;
}

namespace corvid::llm {

class AttemptRun {
 public:
  AttemptRun(Transfer& transfer, const std::string& body) : t_(transfer), body_(body), sse_(transfer.config_->options.max_event_bytes) {}
  Attempt run();

 private:
  enum class Kind { refusal, events, whole };

  void fill(httplib::Request& request);
  bool headers(const httplib::Response& response);
  bool bytes(std::string_view part);
  bool chunk(std::string_view text, std::uint64_t offset);
  Attempt refusal() const;
  Attempt unanswered(int error, long verified) const;
  Attempt answered(bool cut);

  Transfer& t_;
  const std::string& body_;
  Kind kind_ = Kind::refusal;
  int http_status_ = 0;
  std::string reason_, content_type_, retry_after_, location_;
  std::string text_;              // a refusal, or an answer that is not streamed
  std::size_t received_ = 0;      // bytes of the answer's body
  SseParser sse_;
  AnswerReader reader_;
  Status status_;                 // why we broke off
  bool done_ = false;             // the endpoint said that it has said everything
};

}  // namespace corvid::llm
