#define CATCH_CONFIG_MAIN
#include "support/catch.hpp"
#if __has_include(<catch2/catch_all.hpp>)
int main(int argc, char* argv[]) { return Catch::Session().run(argc, argv); }
#endif

#if defined(__SANITIZE_THREAD__)
// Asio's executors count their owners with a release and an acquire fence, and fences are what the thread sanitizer does not know.
// Its library asks for this by name, so that the name must be seen outside the program.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_suppressions() {
  return "race:boost::asio::execution::detail::any_executor_base::destroy_shared\nrace:boost::asio::execution::detail::shared_target_executor\n";
}
#endif
