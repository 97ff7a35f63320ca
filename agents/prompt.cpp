#include "agents/prompt.hpp"

#include "corvid/text/unicode.hpp"

namespace corvid {

std::vector<Message> rag_messages(std::string_view question, const std::vector<Hit>& passages, const std::vector<Message>& history) {
  std::vector<Message> messages;
  messages.push_back(Message::system(
      "Answer the question from the numbered passages only, in a few short sentences. After each sentence write the number of the "
      "passage it came from in square brackets, like [1]. If the passages do not hold the answer, say that they do not."));
  messages.insert(messages.end(), history.begin(), history.end());
  std::string text = "Passages:\n";
  for (std::size_t i = 0; i < passages.size(); ++i) {
    const Hit& hit = passages[i];
    text += "\n[" + std::to_string(i + 1) + "] ";
    std::string place = hit.title;
    for (const auto& heading : hit.heading) {
      if (heading == hit.title) continue;
      if (!place.empty()) place += " > ";
      place += heading;
    }
    if (!place.empty()) text += place + "\n";
    text += hit.text;
    if (text.back() != '\n') text += '\n';
  }
  text += "\nQuestion: ";
  text += question;
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
