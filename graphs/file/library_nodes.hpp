#pragma once

#include "corvid/graphs/node_registry.hpp"

namespace corvid::detail {

NodeType set_node();
NodeType replace_node();
NodeType map_node();
NodeType interrupt_node();
NodeType approval_node();
NodeType fail_node();

}  // namespace corvid::detail
