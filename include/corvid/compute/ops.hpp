// The ops that models are written in. One header each in compute/ops/; this includes all of them.
//
// Common contract. Views live on ctx.device; outputs are written completely; in-place use is allowed only where said.
// An op allocates at most small scratch of its own and never keeps a pointer. Rows are independent: a row's arithmetic
// does not depend on how many rows the call has. Errors: unsupported (dtype × device without an implementation);
// mismatched shapes throw std::invalid_argument (a defect of the caller).
#pragma once

#include "corvid/compute/ops/activation.hpp"
#include "corvid/compute/ops/attention.hpp"
#include "corvid/compute/ops/embedding.hpp"
#include "corvid/compute/ops/linear.hpp"
#include "corvid/compute/ops/norm.hpp"
#include "corvid/compute/ops/pooling.hpp"
#include "corvid/compute/ops/rope.hpp"
#include "corvid/compute/ops/scan.hpp"
