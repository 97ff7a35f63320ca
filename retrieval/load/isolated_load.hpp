// A loader in a process of its own, for parsers that can break on what strangers wrote.
#pragma once

#include "retrieval/load/source_file.hpp"

namespace corvid::retrieval {

/// As `load`, run in a copy of this process: where that ends early, the file is refused and this process goes on. Errors: those of `load`,
/// without key and cause; bad_input (the parser broke), limit_exceeded (a minute; what it may give), cancelled, io.
Status load_isolated(LoadFunction load, const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out);

}  // namespace corvid::retrieval
