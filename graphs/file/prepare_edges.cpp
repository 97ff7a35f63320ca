#include <algorithm>

#include "graphs/file/prepare.hpp"

namespace corvid::detail {
namespace {

struct Arm {
  std::optional<Expression> when;  // none: always
  std::vector<std::string> to;
  std::optional<Fanout> fanout;

  Result<Route> route(const StateView& state) const {
    if (!fanout) return Route(to);
    CORVID_TRY(auto sends, fanout->sends(state));
    return Route(std::move(sends));
  }
};

class EdgePreparer {
 public:
  EdgePreparer(const GraphDefinition& graph, const ExpressionNames& names, PreparedGraph& out, Problems& problems)
      : graph_(graph), names_(names), out_(out), problems_(problems) {}

  void add(const EdgeDefinition& edge) {
    if (edge.kind == EdgeDefinition::plain || edge.kind == EdgeDefinition::join) {
      PreparedEdge made;
      made.from = names_of(edge.from);
      made.to = names_of(edge.to);
      made.join = edge.kind == EdgeDefinition::join;
      made.at = edge.at;
      out_.edges.push_back(std::move(made));
      return;
    }
    PreparedEdge made;
    made.at = edge.at;
    made.route = edge.kind == EdgeDefinition::routed ? routed(edge, made.to) : conditional(edge, made.to);
    std::sort(made.to.begin(), made.to.end());
    made.to.erase(std::unique(made.to.begin(), made.to.end()), made.to.end());
    made.from = names_of(edge.from);
    out_.edges.push_back(std::move(made));
  }

 private:
  static std::vector<std::string> names_of(const std::vector<NamedPlace>& places) {
    std::vector<std::string> out;
    for (const auto& each : places) out.push_back(each.name);
    return out;
  }

  std::optional<Expression> compile(const std::string& text, const FileNode* at, const ExpressionNames& names) {
    auto made = Expression::parse(text, names);
    if (made) return std::move(*made);
    if (text.find("{{") != std::string::npos && text.find_first_not_of(" \n") == text.find("{{"))
      problems_.add(*graph_.source, at, "this is an expression already; write it without {{ }}");
    else if (at)
      problems_.add(*graph_.source, *at, made.error());
    return std::nullopt;
  }

  Arm arm(const ArmDefinition& definition, std::vector<std::string>& targets) {
    Arm out;
    if (!definition.when.empty()) out.when = compile(definition.when, definition.at->find("when"), names_);
    out.to = names_of(definition.to);
    if (definition.send) out.fanout = fanout(*definition.send);
    targets.insert(targets.end(), out.to.begin(), out.to.end());
    if (definition.send) targets.push_back(definition.send->to.name);
    return out;
  }

  std::optional<Fanout> fanout(const SendDefinition& send) {
    auto over = compile(send.over, send.at->find("over"), names_);
    auto with = ValueTemplate::compile(send.with, Fanout::names(names_, send.as, send.index));
    if (!with) {
      const FileNode* at = send.at->find("with");
      problems_.add(*graph_.source, at ? *at : *send.at, with.error());
    }
    if (!over || !with) return std::nullopt;
    return Fanout{std::move(*over), std::move(*with), send.to.name, send.as, send.index, send.timeout};
  }

  RouteFunction conditional(const EdgeDefinition& edge, std::vector<std::string>& targets) {
    std::vector<Arm> arms;
    for (const auto& each : edge.arms) arms.push_back(arm(each, targets));
    if (edge.otherwise) {
      arms.push_back(arm(*edge.otherwise, targets));
      arms.back().when.reset();
    }
    return [arms = std::move(arms)](const StateView& state) -> Result<Route> {
      const StateScope scope(state);
      for (const auto& each : arms) {
        if (each.when) {
          auto holds = each.when->test(scope);
          if (!holds) return fail(Error(holds.error().code(), "the condition \"" + each.when->text() + "\": " + holds.error().message()));
          if (!*holds) continue;
        }
        return each.route(state);
      }
      return Route();  // this branch ends
    };
  }

  RouteFunction routed(const EdgeDefinition& edge, std::vector<std::string>& targets) {
    targets = names_of(edge.to);
    auto expression = compile(edge.route, edge.at->find("route"), names_);
    if (!expression) return [](const StateView&) -> Result<Route> { return Route(); };
    return [expression = std::move(*expression), allowed = targets](const StateView& state) -> Result<Route> {
      CORVID_TRY(const Json value, expression.evaluate(StateScope(state)));
      std::vector<std::string> to;
      const auto take = [&](const Json& name) {
        if (!name.is_string()) return false;
        to.push_back(graph_name(name.get<std::string>()));
        return std::find(allowed.begin(), allowed.end(), to.back()) != allowed.end() || to.back() == END;
      };
      bool good = value.is_null() || value.is_array() || take(value);
      if (value.is_array())
        for (const Json& name : value) good = good && take(name);
      if (good) return Route(std::move(to));
      return fail(Error::bad_input("the route \"" + expression.text() + "\" gave " + dump_json(value).substr(0, 200) +
                                   ", which is not among its targets"));
    };
  }

  const GraphDefinition& graph_;
  const ExpressionNames& names_;
  PreparedGraph& out_;
  Problems& problems_;
};

}  // namespace

ExpressionNames Fanout::names(ExpressionNames graph, const std::string& as, const std::string& index) {
  graph.variables.push_back(as);
  if (!index.empty()) graph.variables.push_back(index);
  return graph;
}

Result<std::vector<Send>> Fanout::sends(const StateView& state) const {
  CORVID_TRY(const Json list, over.evaluate(StateScope(state)));
  std::vector<Send> out;
  if (list.is_null()) return out;
  if (!list.is_array())
    return fail(Error::bad_input("\"" + over.text() + "\" gave a " + std::string(list.type_name()) + "; a fan-out goes over a list"));
  if (list.size() > kMostTasks)
    return fail(Error::limit_exceeded("\"" + over.text() + "\" gave " + std::to_string(list.size()) + " elements; a fan-out has at most " +
                                      std::to_string(kMostTasks) + " tasks"));
  std::int64_t place = 0;
  for (const Json& item : list) {
    Json bound = {{as, item}};
    if (!index.empty()) bound[index] = place;
    ++place;
    CORVID_TRY(Json argument, with.evaluate(StateScope(state, &bound)));
    for (auto each = bound.begin(); each != bound.end(); ++each) {
      if (!argument.contains(each.key())) argument[each.key()] = std::move(*each);
    }
    Send send(to, std::move(argument));
    send.timeout = timeout;
    out.push_back(std::move(send));
  }
  return out;
}

void prepare_edges(const GraphDefinition& graph, const ExpressionNames& names, PreparedGraph& out, Problems& problems) {
  EdgePreparer preparer(graph, names, out, problems);
  for (const auto& edge : graph.edges) preparer.add(edge);
}

}  // namespace corvid::detail
