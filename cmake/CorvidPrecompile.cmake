# corvid_precompile(TARGET header…): with CORVID_PRECOMPILE, the target's sources get these headers of other libraries precompiled.
# corvid_precompile_always(TARGET header…): in every build.
#
# The sanitizers' presets do so, where most of the compiler's time is templates and headers, and tests do everywhere. The rest of the release
# build does not, so that a source whose own includes are missing fails there.
option(CORVID_PRECOMPILE "precompile the headers of other libraries" OFF)

function(corvid_precompile_always TARGET)
  target_precompile_headers(${TARGET} PRIVATE ${ARGN})
  if(CCACHE_PROGRAM AND "${CMAKE_CXX_COMPILER_LAUNCHER}" STREQUAL "${CCACHE_PROGRAM}")   # what ccache asks for then
    set_target_properties(${TARGET} PROPERTIES CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND};-E;env;CCACHE_SLOPPINESS=pch_defines,time_macros;${CCACHE_PROGRAM}")
  endif()
endfunction()

function(corvid_precompile TARGET)
  if(CORVID_PRECOMPILE)
    corvid_precompile_always(${TARGET} ${ARGN})
  endif()
endfunction()
