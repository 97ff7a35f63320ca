#include "apps/cli/command.hpp"

int main(int argc, char** argv) { return corvid::cli::run_program(argc, argv); }
