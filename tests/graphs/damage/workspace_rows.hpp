// Damage to a workspace's file: to a column of a graph's row, with its checksum as it was or made to fit, or to the file's bytes.
#pragma once

#include <filesystem>
#include <string>

#include "graphs/damage/mutate.hpp"
#include "graphs/damage/store_image.hpp"

namespace corvid::test {

/// A workspace's file, closed, with one thread in it. Its columns take NULL, as those of a damaged schema do.
std::string workspace_with(const std::filesystem::path& scratch, const std::string& thread_id, const StoreImage& image);

/// One column of one row: NULL, another type, an extreme, damaged bytes.
void mutate_row(const std::filesystem::path& workspace, Dice& dice);

}  // namespace corvid::test
