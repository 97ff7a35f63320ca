# tl::expected and httplib::httplib, with the distribution's CMake package or without: some packages ship no CMake files. Used by the
# build and, installed beside corvidConfig.cmake, by consumers; PkgConfig, OpenSSL and Threads are found before. Defines nothing where a
# library is missing: callers check.
find_package(tl-expected QUIET)
if(NOT TARGET tl::expected)
  find_path(TL_EXPECTED_INCLUDE_DIR tl/expected.hpp)
  if(TL_EXPECTED_INCLUDE_DIR)
    add_library(tl::expected INTERFACE IMPORTED)
    target_include_directories(tl::expected INTERFACE ${TL_EXPECTED_INCLUDE_DIR})
  endif()
endif()

find_package(httplib QUIET)
if(NOT TARGET httplib::httplib)
  # Through pkg-config: a packaged library is compiled with macros that its header must see too.
  pkg_check_modules(httplib QUIET IMPORTED_TARGET cpp-httplib)
  if(TARGET PkgConfig::httplib)
    add_library(httplib::httplib INTERFACE IMPORTED)
    target_link_libraries(httplib::httplib INTERFACE PkgConfig::httplib OpenSSL::SSL OpenSSL::Crypto Threads::Threads)
  endif()
endif()
