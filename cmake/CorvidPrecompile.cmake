# corvid_precompile(TARGET header…)
#
# With CORVID_PRECOMPILE, the target's sources get these headers of other libraries precompiled. The sanitizers' presets do so, where most of the
# compiler's time is templates and headers; the release build does not, so that a source whose own includes are missing fails there.
option(CORVID_PRECOMPILE "precompile the headers of other libraries" OFF)

function(corvid_precompile TARGET)
  if(CORVID_PRECOMPILE)
    target_precompile_headers(${TARGET} PRIVATE ${ARGN})
  endif()
endfunction()
