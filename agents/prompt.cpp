#include "agents/prompt.hpp"

#include "corvid/text/unicode.hpp"

namespace corvid {

std::vector<Message> rag_messages(std::string_view question, const std::vector<Hit>& passages, const std::vector<Message>& history) {
  std::vector<Message> messages;
  // Measured on SmolLM2-135M: numbers in square brackets before the passages, or the question without the instruction after it, make a
  // small model recite headings instead of answering.
  messages.push_back(Message::system(
      "You answer questions from passages of documents. Use only what the passages say. Answer in one to three complete sentences and put the "
      "number of the passage after each sentence, like [1]. If the passages do not hold the answer, say so."));
  messages.insert(messages.end(), history.begin(), history.end());
  std::string text;
  for (std::size_t i = 0; i < passages.size(); ++i) {
    const Hit& hit = passages[i];
    text += "Passage " + std::to_string(i + 1);
    std::string place = hit.title;
    for (const auto& heading : hit.heading) {
      if (heading == hit.title) continue;
      if (!place.empty()) place += " > ";
      place += heading;
    }
    if (!place.empty()) text += " (" + place + ")";
    text += ":\n" + hit.text;
    if (text.back() != '\n') text += '\n';
    text += '\n';
  }
  text += "Question: ";
  text += question;
  text += "\nAnswer the question in one to three sentences, from the passages above.";
  messages.push_back(Message::user(unicode::to_valid_utf8(text)));
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
