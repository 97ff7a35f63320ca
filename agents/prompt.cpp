#include "agents/prompt.hpp"

#include "corvid/text/unicode.hpp"

namespace corvid {

std::vector<Message> rag_messages(std::string_view question, const std::vector<Hit>& passages, const std::vector<Message>& history) {
  std::vector<Message> messages;
  // Measured on SmolLM2-135M: with passages and question in one message a small model recites passages; with the passages in the system
  // message and the question alone in the user's it answers.
  std::string text =
      "You answer questions from the passages below. Use only what they say. Answer in one to three complete sentences and put the number of "
      "the passage after each sentence, like [1]. If the passages do not hold the answer, say so.";
  for (std::size_t i = 0; i < passages.size(); ++i) {
    const Hit& hit = passages[i];
    text += "\n\nPassage " + std::to_string(i + 1);
    std::string place = hit.title;
    for (const auto& heading : hit.heading) {
      if (heading == hit.title) continue;
      if (!place.empty()) place += " > ";
      place += heading;
    }
    if (!place.empty()) text += " (" + place + ")";
    text += ":\n" + hit.text;
  }
  messages.push_back(Message::system(unicode::to_valid_utf8(text)));
  messages.insert(messages.end(), history.begin(), history.end());
  messages.push_back(Message::user(unicode::to_valid_utf8(std::string(question))));
  return messages;
}

bool drop_oldest_turn(std::vector<Message>& history) {
  if (history.empty()) return false;
  std::size_t end = 1;
  while (end < history.size() && history[end].role != Role::user) ++end;
  history.erase(history.begin(), history.begin() + static_cast<std::ptrdiff_t>(end));
  return true;
}

}  // namespace corvid
