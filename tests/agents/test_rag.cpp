#include "agents/citations.hpp"
#include "agents/prompt.hpp"
#include "agents/repetition.hpp"
#include "agents/sentences.hpp"
#include "corvid/agents/chat_history.hpp"
#include "doubles.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

std::vector<std::string> sentences(std::string_view text) {
  std::vector<std::string> out;
  std::size_t at = 0;
  for (const auto& piece : split_sentences(text)) {
    REQUIRE(piece.begin == at);  // no gaps, no overlaps
    at = piece.end;
    if (piece.kind == TextPiece::Kind::sentence) out.emplace_back(text.substr(piece.begin, piece.end - piece.begin));
  }
  REQUIRE(at == text.size());
  return out;
}

Result<CheckedAnswer> check(std::string_view answer, const std::vector<std::string_view>& passages, float threshold = 0.45f) {
  const auto embed = [](const std::vector<std::string_view>& texts) { return Result<std::vector<float>>(bag_of_words(texts)); };
  return check_citations(answer, passages, threshold, embed);
}

const std::string kRaven = "Ravens cache food in autumn. They remember hundreds of hiding places.";
const std::string kCrow = "Crows recognise human faces for years.";

}  // namespace

TEST_CASE("sentences: marks, numbers, abbreviations, lists, code", "[agents]") {
  using V = std::vector<std::string>;
  CHECK(sentences("One. Two! Three?") == V{"One.", "Two!", "Three?"});
  CHECK(sentences("Pi is 3.14 today. Dr. Who said so, e.g. here.") == V{"Pi is 3.14 today.", "Dr. Who said so, e.g. here."});
  CHECK(sentences("- first item\n- second item\n\nA line\nthat goes on.") == V{"first item", "second item", "A line\nthat goes on."});
  CHECK(sentences("# Title\nText here.\n```\nx. y.\n```\nAfter.") == V{"Text here.", "After."});
  CHECK(sentences("Cited. [1][2] Next [3].") == V{"Cited. [1][2]", "Next [3]."});
  CHECK(sentences("カラスは賢い。鳥です。") == V{"カラスは賢い。", "鳥です。"});
  CHECK(sentences("") == V{});
  CHECK(sentences("no mark") == V{"no mark"});
  CHECK(sentences("\n\n  \n") == V{});
}

TEST_CASE("citations: the model's own are kept, unknown ones removed and reported", "[agents]") {
  const auto checked = check("Ravens cache food [1]. Crows know faces [2, 7]. Elves exist [9].", {kRaven, kCrow});
  REQUIRE(checked);
  CHECK(checked->text == "Ravens cache food [1]. Crows know faces [2]. Elves exist.");
  CHECK(checked->by_model == std::set<int>{1, 2});
  CHECK(checked->removed == std::vector<std::string>{"[2, 7]", "[9]"});
  CHECK(checked->unsupported == std::vector<std::string>{"Elves exist."});
}

TEST_CASE("citations: uncited sentences are attributed above the threshold only", "[agents]") {
  const auto checked = check("They remember hundreds of hiding places. Penguins swim in cold oceans.", {kRaven, kCrow});
  REQUIRE(checked);
  CHECK(checked->text == "They remember hundreds of hiding places [1]. Penguins swim in cold oceans.");
  CHECK(checked->by_model.empty());
  CHECK(checked->by_attribution == std::set<int>{1});
  CHECK(checked->unsupported == std::vector<std::string>{"Penguins swim in cold oceans."});
}

TEST_CASE("citations: a sentence with a figure that the passage lacks is not attributed to it", "[agents]") {
  constexpr std::string_view fees = "A mooring costs 9 euros a night. The office is open from 8 to 12.";
  const auto checked = check("A mooring costs 12.5 euros a night. A mooring costs 9 euros a night.\n1. The office is open from 8 to 12.", {fees});
  REQUIRE(checked);
  CHECK(checked->text == "A mooring costs 12.5 euros a night. A mooring costs 9 euros a night [1].\n1. The office is open from 8 to 12 [1].");
  CHECK(checked->unsupported == std::vector<std::string>{"A mooring costs 12.5 euros a night."});
}

TEST_CASE("citations: equal passages go to the better-ranked one", "[agents]") {
  const auto checked = check("Crows recognise human faces for years.", {kRaven, kCrow, kCrow});
  REQUIRE(checked);
  CHECK(checked->by_attribution == std::set<int>{2});
}

TEST_CASE("citations: numbers in code and subscripts are no citations", "[agents]") {
  const auto checked = check("Use `argv[1]` for it.\n```\na[2] = b[9];\n```\n", {kRaven, kCrow});
  REQUIRE(checked);
  CHECK(checked->text.find("[1]") == std::string::npos);
  CHECK(checked->text.find("argv[ 1 ]") != std::string::npos);
  CHECK(checked->text.find("b[ 9 ]") != std::string::npos);
  CHECK(checked->by_model.empty());
  CHECK(checked->removed.empty());
}

TEST_CASE("rag: a grounded answer streams, cites and counts", "[agents]") {
  Runtime runtime(RuntimeOptions{.threads = 1});
  auto collection = std::make_shared<FixedCollection>();
  collection->add(kRaven, 0.8f);
  collection->add(kCrow, 0.5f);
  auto model = std::make_shared<ScriptedModel>();
  model->replies = {"Crows recognise human faces for years. Ravens cache food [1]."};
  RagPipeline rag(runtime, collection, model);
  std::string streamed;
  const auto answer = rag.ask("What do crows know?", {}, [&](std::string_view text) { streamed += text; });
  REQUIRE(answer);
  CHECK(streamed == "Crows recognise human faces for years. Ravens cache food [1].");
  CHECK(answer->answer == "Crows recognise human faces for years [2]. Ravens cache food [1].");
  CHECK(answer->grounded);
  REQUIRE(answer->citations.size() == 2);
  CHECK(answer->citations[0].n == 1);
  CHECK(answer->citations[0].by == Citation::By::model);
  CHECK(answer->citations[1].by == Citation::By::attribution);
  CHECK(answer->citations[1].hit.text == kCrow);
  CHECK(answer->usage.completion_tokens == 7);
}

TEST_CASE("rag: nothing relevant asks no model", "[agents]") {
  Runtime runtime(RuntimeOptions{.threads = 1});
  auto collection = std::make_shared<FixedCollection>();
  auto model = std::make_shared<ScriptedModel>();
  RagPipeline rag(runtime, collection, model);
  for (const bool empty : {true, false}) {
    if (!empty) collection->add(kRaven, 0.05f);
    const auto answer = rag.ask("How do rockets work?", {});
    REQUIRE(answer);
    CHECK_FALSE(answer->grounded);
    CHECK(answer->citations.empty());
    CHECK(answer->answer.find("nothing relevant") != std::string::npos);
  }
  CHECK(model->requests.empty());
}

TEST_CASE("rag: passages and turns give way to the budget, oldest first", "[agents]") {
  Runtime runtime(RuntimeOptions{.threads = 1});
  auto collection = std::make_shared<FixedCollection>();
  for (int i = 0; i < 4; ++i) collection->add(std::string(200, static_cast<char>('a' + i)), 0.9f);
  auto model = std::make_shared<ScriptedModel>();
  model->context = 1200;  // room for 1,100 beside the answer: everything is about 1,260 with the old turn, 660 without
  model->replies = {"Fine."};
  RagPipeline rag(runtime, collection, model);
  RagOptions options;
  options.context_tokens = 500;  // two passages of about 200
  options.max_tokens = 100;
  options.history = {Message::user(std::string(300, 'x')), Message::assistant(std::string(300, 'y')), Message::user("recent"),
                     Message::assistant("turn")};
  const auto answer = rag.ask("Which?", options);
  REQUIRE(answer);
  REQUIRE(model->requests.size() == 1);
  const auto& messages = model->requests[0].messages;
  REQUIRE(messages.size() == 4);  // system, the recent turn, the question
  CHECK(messages[1].text() == "recent");
  CHECK(messages.front().text().find("Passage 2") != std::string::npos);
  CHECK(messages.front().text().find("Passage 3") == std::string::npos);
  REQUIRE(answer->notes.size() == 1);
  CHECK(answer->notes[0].find("1 oldest turn") != std::string::npos);
}

TEST_CASE("chat history: whole turns, in order, by thread, across openings", "[agents]") {
  TempDir dir;
  {
    auto workspace = Workspace::open(dir / "w.db");
    REQUIRE(workspace);
    auto history = ChatHistory::open(*workspace);
    REQUIRE(history);
    REQUIRE(history->append("a", {Message::user("hi"), Message::assistant("hello")}));
    REQUIRE(history->append("b", {Message::user("other")}));
    REQUIRE(history->append("a", {Message::user("again")}));
  }
  auto workspace = Workspace::open(dir / "w.db");
  REQUIRE(workspace);
  auto history = ChatHistory::open(*workspace);
  REQUIRE(history);
  const auto a = history->load("a");
  REQUIRE(a);
  REQUIRE(a->size() == 3);
  CHECK((*a)[1].role == Role::assistant);
  CHECK((*a)[2].text() == "again");
  CHECK(history->load("none")->empty());
  CHECK(history->list()->size() == 2);
  REQUIRE(history->remove("a"));
  CHECK(history->remove("a").error().code() == ErrorCode::not_found);
  CHECK(history->load("b")->size() == 1);
}

TEST_CASE("rag: an answer that loops ends where the loop begins") {
  CHECK(loop_start("A plain answer. It says a thing once, and another thing once.") == std::string::npos);
  CHECK(loop_start("| --- | --- | --- |\n| a | b | c |\n") == std::string::npos);
  const std::string said = "Run the script; ";
  CHECK(loop_start("Do this: " + said + said + said) == std::string::npos);
  const std::string four = "Do this: " + said + said + said + said;
  // The loop may be seen to begin earlier than at its first word: " " before it equals the byte before each copy.
  const auto at = loop_start(four);
  REQUIRE(at != std::string::npos);
  CHECK(four.substr(0, at).find(said.substr(0, 10)) != std::string::npos);
  CHECK(at <= std::string("Do this: ").size() + said.size());
  std::string paragraph;
  for (int i = 0; i < 40; ++i) paragraph += "word" + std::to_string(i) + ' ';
  CHECK(loop_start(paragraph) == std::string::npos);
  CHECK(loop_start("x" + paragraph + paragraph) == 1 + paragraph.size());
  CHECK(loop_start(std::string(47, '.')) == std::string::npos);
  CHECK(loop_start(std::string(48, '.')) == 1);
}
