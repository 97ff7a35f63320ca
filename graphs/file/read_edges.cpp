// Edges: the short form "START -> a -> b, c" and objects with conditions.
#include "graphs/file/definition.hpp"
#include "graphs/file/suggest.hpp"

namespace corvid::detail {
namespace {

class EdgeReader {
 public:
  EdgeReader(const SourceFile& source, GraphDefinition& graph, Problems& problems) : source_(source), graph_(graph), problems_(problems) {
    for (const auto& node : graph.nodes) known_.push_back(node.name);
  }

  void read(const FileNode& at) {
    if (at.kind == FileNode::scalar) return chain(at);
    ObjectReader object(source_, problems_);
    if (!object.open(at, FormatObject::edge)) return;
    EdgeDefinition edge;
    edge.at = &at;
    edge.from = object.names("from");
    for (auto& name : edge.from) check(name, true);
    int forms = 0;
    for (const auto* key : {"to", "cases", "send", "route"}) forms += at.find(key) ? 1 : 0;
    if (forms != 1)
      return problems_.add(
          source_, &at,
          forms == 0 ? "an edge needs one of to, cases, send and route" : "an edge has only one of to, cases, send and route");
    const bool conditional = at.find("when") || at.find("cases") || at.find("route");
    if (const auto* otherwise = at.find("else"); otherwise && !conditional)
      problems_.add(source_, otherwise, "else goes with when, cases or route");
    if (at.find("when") && !at.find("to") && !at.find("send"))
      problems_.add(source_, at.find("when"), "when goes with to or send; a case has its own");
    if (static_cast<bool>(at.find("route")) != static_cast<bool>(at.find("targets")))
      return problems_.add(source_, &at, "route and targets go together: targets names the nodes that route may give");
    if (const auto* cases = at.find("cases")) {
      if (cases->kind != FileNode::list || cases->items.empty())
        return problems_.add(source_, cases, "cases must be a list of at least one {when, to}");
      for (const auto& each : cases->items) {
        if (auto made = arm(each, true)) edge.arms.push_back(std::move(*made));
      }
    } else if (at.find("route")) {
      edge.route = object.text("route");
      edge.to = object.names("targets");
      for (auto& name : edge.to) check(name, false);
    } else {
      ArmDefinition made;
      made.at = &at;
      made.when = object.text("when");
      made.to = object.names("to");
      for (auto& name : made.to) check(name, false);
      if (const auto* send = object.get("send")) made.send = read_send(*send);
      edge.arms.push_back(std::move(made));
    }
    if (const auto* otherwise = object.get("else")) edge.otherwise = else_arm(*otherwise);
    edge.kind = at.find("route")                 ? EdgeDefinition::routed
                : conditional || at.find("send") ? EdgeDefinition::conditional
                : edge.from.size() > 1           ? EdgeDefinition::join
                                                 : EdgeDefinition::plain;
    if (edge.kind == EdgeDefinition::plain || edge.kind == EdgeDefinition::join) {
      edge.to = std::move(edge.arms[0].to);
      edge.arms.clear();
    }
    if (edge.kind == EdgeDefinition::join) check_join(edge.from);
    graph_.edges.push_back(std::move(edge));
  }

 private:
  struct Group {
    std::vector<NamedPlace> names;
    bool all = false;  // joined by +
  };

  // START and END are written so; a name must be a node's.
  void check(NamedPlace& place, bool from) {
    if (place.name == "START" || place.name == START) {
      if (!from) problems_.add_in(source_, place.at, place.offset, "nothing leads to START");
      place.name = START;
    } else if (place.name == "END" || place.name == END) {
      if (from) problems_.add_in(source_, place.at, place.offset, "nothing follows END");
      place.name = END;
    } else if (!graph_.find_node(place.name)) {
      problems_.add_in(source_, place.at, place.offset,
                       "there is no node \"" + place.name.substr(0, 60) + "\"" + suggestion(place.name, known_));
    }
  }

  void check_join(const std::vector<NamedPlace>& from) {
    for (const auto& place : from) {
      if (place.name == START) problems_.add_in(source_, place.at, place.offset, "START is no node to wait for");
    }
  }

  void chain(const FileNode& at) {
    const std::string& text = at.text;
    std::vector<Group> groups(1);
    std::size_t begin = 0;
    for (std::size_t i = 0; i <= text.size(); ++i) {
      const bool arrow = text.compare(i, 2, "->") == 0;
      const char c = i < text.size() ? text[i] : '\0';
      if (i < text.size() && !arrow && c != ',' && c != '+') continue;
      auto first = text.find_first_not_of(" \t\n", begin);
      first = std::min(first, i);
      auto last = i;
      while (last > first && (text[last - 1] == ' ' || text[last - 1] == '\t' || text[last - 1] == '\n')) --last;
      NamedPlace place{text.substr(first, last - first), &at, first};
      if (place.name.empty())
        return problems_.add_in(source_, &at, std::min(first, text.size()), "a node's name is missing; write edges as \"START -> a -> b\"");
      groups.back().names.push_back(std::move(place));
      if (c == '+') groups.back().all = true;
      if (c == ',' && groups.back().all)
        return problems_.add_in(source_, &at, i, "\"+\" (all of them) and \",\" (each of them) do not mix");
      begin = i + 1;
      if (arrow) {
        groups.emplace_back();
        begin = ++i + 1;
      }
    }
    if (groups.size() < 2)
      return problems_.add(source_, &at, "an edge leads somewhere: \"" + groups[0].names[0].name.substr(0, 60) + " -> …\"");
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const bool first = g == 0, last = g + 1 == groups.size();
      for (auto& place : groups[g].names) {
        const auto name = place.name;
        if (!first || last) check(place, false);
        if (first || (!last && (name == "END" || name == END))) check(place, true);
      }
    }
    for (std::size_t g = 0; g + 1 < groups.size(); ++g) {
      EdgeDefinition edge;
      edge.at = &at;
      edge.to = groups[g + 1].names;
      if (groups[g].all) {
        edge.kind = EdgeDefinition::join;
        edge.from = groups[g].names;
        check_join(edge.from);
        graph_.edges.push_back(std::move(edge));
      } else {
        for (const auto& from : groups[g].names) {
          EdgeDefinition one = edge;
          one.from = {from};
          graph_.edges.push_back(std::move(one));
        }
      }
    }
  }

  std::optional<ArmDefinition> arm(const FileNode& at, bool needs_when) {
    ObjectReader object(source_, problems_);
    if (!object.open(at, FormatObject::arm)) return std::nullopt;
    ArmDefinition made;
    made.at = &at;
    made.when = object.text("when");
    if (needs_when && !at.find("when")) problems_.add(source_, &at, "a case needs when");
    if (!needs_when && at.find("when")) problems_.add(source_, at.find("when"), "else has no condition");
    if (static_cast<bool>(at.find("to")) == static_cast<bool>(at.find("send")))
      problems_.add(source_, &at, "one of to and send says where the run goes on");
    made.to = object.names("to");
    for (auto& name : made.to) check(name, false);
    if (const auto* send = object.get("send")) made.send = read_send(*send);
    return made;
  }

  std::optional<ArmDefinition> else_arm(const FileNode& at) {
    if (at.kind == FileNode::map) return arm(at, false);
    ArmDefinition made;
    made.at = &at;
    const auto status = format_value_schema(FormatObject::arm, "to")->check(at.to_json());
    if (!status) {
      problems_.add(source_, &at, "else " + status.error().message());
      return std::nullopt;
    }
    if (at.kind == FileNode::scalar) made.to.push_back({at.text, &at, 0});
    for (const auto& item : at.items) made.to.push_back({item.text, &item, 0});
    for (auto& name : made.to) check(name, false);
    return made;
  }

  std::optional<SendDefinition> read_send(const FileNode& at) {
    ObjectReader object(source_, problems_);
    if (!object.open(at, FormatObject::send)) return std::nullopt;
    SendDefinition made;
    made.at = &at;
    const FileNode* to = object.get("to");
    if (!to || !object.get("over")) return std::nullopt;
    made.to = {to->text, to, 0};
    check(made.to, false);
    if (made.to.name == END) problems_.add(source_, to, "a task runs a node; END is none");
    made.over = object.text("over");
    if (object.get("as")) made.as = object.text("as");
    made.index = object.text("index");
    for (const auto* key : {"as", "index"}) {
      if (const auto* name = object.get(key); name && !checked_name(name->text).empty())
        problems_.add(source_, name, checked_name(name->text));
    }
    if (const auto* with = object.get("with")) made.with = with->to_json();
    made.timeout = object.duration("timeout");
    return made;
  }

  const SourceFile& source_;
  GraphDefinition& graph_;
  Problems& problems_;
  std::vector<std::string> known_;
};

}  // namespace

void read_edges(const SourceFile& source, const FileNode& list, GraphDefinition& graph, Problems& problems) {
  if (list.kind != FileNode::list) return problems.add(source, &list, "edges must be a list such as [\"START -> a -> END\"]");
  EdgeReader reader(source, graph, problems);
  for (const auto& edge : list.items) reader.read(edge);
}

}  // namespace corvid::detail
