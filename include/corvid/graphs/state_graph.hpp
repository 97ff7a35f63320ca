// StateGraph<S>: a graph over the typed keys of S.
//
//   struct Counter { Key<int> x{"x"}; };
//   StateGraph<Counter> graph;
//   graph.add_node("inc", [](const StateOf<Counter>& s) { return update(&Counter::x, s[&Counter::x] + 1); })
//        .add_edge(START, "inc").add_edge("inc", END);
//   CORVID_TRY(auto compiled, graph.compile());
//   CORVID_TRY(auto result, compiled->invoke_blocking(runtime, input(update(&Counter::x, 1))));
//   int x = result.get(&Counter::x);
//
// A node takes (const StateOf<S>&), (const StateOf<S>&, NodeContext&) or (NodeContext&), and returns Update<S>, NodeResult, a Result of
// either, or a Task of either. A route takes (const StateOf<S>&) and returns what a Route is made of, or a Result of it.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "corvid/graphs/graph.hpp"

namespace corvid {

namespace detail {

template <class T>
struct is_awaitable : std::false_type {};
template <class T, class E>
struct is_awaitable<boost::asio::awaitable<T, E>> : std::true_type {};
template <class T>
struct is_result : std::false_type {};
template <class T>
struct is_result<Result<T>> : std::true_type {};

template <class S, class F>
decltype(auto) call_node(F& f, NodeContext& context, const StateOf<S>& state) {
  if constexpr (std::is_invocable_v<F&, const StateOf<S>&, NodeContext&>) return f(state, context);
  else if constexpr (std::is_invocable_v<F&, const StateOf<S>&>) return f(state);
  else return f(context);
}

template <class R>
Result<NodeResult> node_result(R&& returned) {
  if constexpr (is_result<std::remove_cvref_t<R>>::value) {
    if (!returned) return fail(std::move(returned).error());
    return NodeResult(std::move(*returned));
  } else {
    return NodeResult(std::move(returned));
  }
}

}  // namespace detail

template <class S>
class StateGraph {
 public:
  StateGraph() : builder_(Layout<S>::get().schema()) {}

  template <class F>
  StateGraph& add_node(std::string name, F run, NodeOptions options = {}) {
    using R = decltype(detail::call_node<S>(std::declval<F&>(), std::declval<NodeContext&>(), std::declval<const StateOf<S>&>()));
    if constexpr (detail::is_awaitable<std::remove_cvref_t<R>>::value) {
      NodeCoroutine node = [run = std::move(run)](NodeContext& context) mutable -> Task<NodeResult> {
        const StateOf<S> state(context.state());
        auto returned = co_await detail::call_node<S>(run, context, state);
        co_return detail::node_result(std::move(returned));
      };
      builder_.add_node(std::move(name), std::move(node), std::move(options));
    } else {
      NodeFunction node = [run = std::move(run)](NodeContext& context) mutable -> Result<NodeResult> {
        const StateOf<S> state(context.state());
        return detail::node_result(detail::call_node<S>(run, context, state));
      };
      builder_.add_node(std::move(name), std::move(node), std::move(options));
    }
    return *this;
  }
  StateGraph& add_subgraph(std::string name, std::shared_ptr<const CompiledGraph> graph, SubgraphOptions options = {}) {
    builder_.add_subgraph(std::move(name), std::move(graph), std::move(options));
    return *this;
  }
  StateGraph& add_edge(std::string_view from, std::string_view to) { builder_.add_edge(from, to); return *this; }
  StateGraph& add_edge(std::vector<std::string> from, std::string_view to) { builder_.add_edge(std::move(from), to); return *this; }
  StateGraph& add_edge(std::initializer_list<std::string_view> from, std::string_view to) { builder_.add_edge(from, to); return *this; }
  template <class F>
  StateGraph& add_conditional_edges(std::string_view from, F route, std::vector<std::string> targets) {
    RouteFunction erased = [route = std::move(route)](const StateView& view) mutable -> Result<Route> {
      auto returned = route(StateOf<S>(view));
      if constexpr (detail::is_result<decltype(returned)>::value) {
        if (!returned) return fail(std::move(returned).error());
        return Route(std::move(*returned));
      } else {
        return Route(std::move(returned));
      }
    };
    builder_.add_conditional_edges(from, std::move(erased), std::move(targets));
    return *this;
  }

  std::vector<GraphProblem> check(const CompileOptions& options = {}) const { return builder_.check(options); }
  Result<std::shared_ptr<const CompiledGraph>> compile(CompileOptions options = {}) const { return builder_.compile(std::move(options)); }
  GraphBuilder& builder() noexcept { return builder_; }

 private:
  GraphBuilder builder_;
};

/// A typed update as a run's input.
template <class S>
Input input(Update<S> update) { return Input(std::move(update).take()); }

}  // namespace corvid
