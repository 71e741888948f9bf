# Runs at install time: copies the public headers, with their includes rewritten to <ptynet/...>.
# Public is what tools/check_layering.py calls so: a header directly in its storey whose first line
# does not begin with `// Internal:`. The C API goes to the front, as <ptynet/ptynet.h>.
cmake_path(ABSOLUTE_PATH PTYNET_INCLUDE_DIR BASE_DIRECTORY "${CMAKE_INSTALL_PREFIX}"
           OUTPUT_VARIABLE include_folder)

foreach(storey IN ITEMS kernels autograd layers io engine)
  file(GLOB headers RELATIVE "${PTYNET_SOURCE_DIR}" "${PTYNET_SOURCE_DIR}/${storey}/*.h")
  foreach(header IN LISTS headers)
    file(READ "${PTYNET_SOURCE_DIR}/${header}" content)
    if(content MATCHES "^// Internal:")
      continue()
    endif()
    string(REGEX REPLACE "(#[ \t]*include[ \t]+)\"(kernels|autograd|layers|io|engine)/([^\"]+)\""
                         "\\1\"ptynet/\\2/\\3\"" content "${content}")
    string(REPLACE "\"ptynet/engine/ptynet.h\"" "\"ptynet/ptynet.h\"" content "${content}")
    set(target "${include_folder}/ptynet/${header}")
    if(header STREQUAL "engine/ptynet.h")
      set(target "${include_folder}/ptynet/ptynet.h")
    endif()
    message(STATUS "Installing: $ENV{DESTDIR}${target}")
    file(WRITE "$ENV{DESTDIR}${target}" "${content}")
    list(APPEND CMAKE_INSTALL_MANIFEST_FILES "${target}")
  endforeach()
endforeach()
