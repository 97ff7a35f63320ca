// The syntax tree of a template.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "llm/chat_template/value.hpp"

namespace corvid::llm::tmpl {

struct Expr;
struct Stmt;
using ExprP = std::unique_ptr<Expr>;
using StmtP = std::unique_ptr<Stmt>;
using Body = std::vector<StmtP>;

enum class ExprKind {
  literal,    // value
  name,       // text
  list,       // kids
  tuple,      // kids
  dict,       // kids: key, value, key, value…
  attribute,  // kids[0] . text
  subscript,  // kids[0] [ kids[1] ]
  slice,      // kids[0] [ kids[1] : kids[2] : kids[3] ]; absent ones are null
  call,       // kids[0] ( kids[1…], named )
  filter,     // kids[0] | text ( kids[1…], named ); kids[0] is null in a filter block
  test,       // kids[0] is text ( kids[1…] )
  unary,      // text: - + not
  binary,     // text: + - * / // % ** ~ and or
  compare,    // kids[0] ops[0] kids[1] ops[1] …
  ternary,    // kids[0] if kids[1] else kids[2]; kids[2] may be null
};

struct Expr {
  ExprKind kind = ExprKind::literal;
  std::size_t offset = 0;
  std::size_t height = 1;  // of the tree below; the parser bounds it
  std::string text;
  Value value;
  std::vector<ExprP> kids;
  std::vector<std::pair<std::string, ExprP>> named;
  std::vector<std::string> ops;
};

struct Macro {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExprP> defaults;  // of the last ones
  Body body;
  bool takes_varargs = false;   // the body says `varargs`
  bool takes_kwargs = false;
  std::size_t offset = 0;
};

enum class StmtKind { data, print, branch, loop, assign, capture, macro, scope, filter, with, leave, next };

struct Stmt {
  StmtKind kind = StmtKind::data;
  std::size_t offset = 0;
  std::string text;                          // data; capture's name; its attribute in `attribute`
  std::string attribute;
  ExprP expr;                                // print; assign's value; loop's iterable; a filter chain (capture, filter)
  ExprP condition;                           // loop's filter
  ExprP target;                              // loop's and assign's: name, tuple of names, or attribute
  std::vector<std::pair<ExprP, Body>> arms;  // branch; the last may lack its condition
  std::vector<std::pair<ExprP, ExprP>> bindings;  // with
  Body body;
  Body otherwise;                            // loop's else
  std::unique_ptr<Macro> macro;
};

}  // namespace corvid::llm::tmpl
