# cmake --install: libraries, public headers, the program, and a CMake package for find_package(corvid CONFIG).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

get_property(libraries GLOBAL PROPERTY CORVID_MODULES)
list(TRANSFORM libraries REPLACE "^corvid_" "" OUTPUT_VARIABLE modules)
list(JOIN modules " " modules)

install(TARGETS ${libraries} corvid_all EXPORT corvidTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/corvid DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
if(TARGET corvid_program)
  install(TARGETS corvid_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/corvid)
install(EXPORT corvidTargets NAMESPACE corvid:: DESTINATION ${package_folder})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/corvidConfig.cmake.in ${PROJECT_BINARY_DIR}/corvidConfig.cmake
  INSTALL_DESTINATION ${package_folder})
# Before 1.0 a new minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/corvidConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/corvidConfig.cmake ${PROJECT_BINARY_DIR}/corvidConfigVersion.cmake
  ${PROJECT_SOURCE_DIR}/cmake/CorvidHeaderLibraries.cmake DESTINATION ${package_folder})
