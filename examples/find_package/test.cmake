# Installs the build into a folder of its own, builds the consumer beside this file against it and
# runs that; then compiles every installed header by itself, outside the source tree.
#   cmake -DBUILD_DIR=... -DWORK_DIR=... -DCXX=... -DCC=... -P test.cmake
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "'${ARGN}' failed (${result}):\n${output}")
  endif()
endfunction()

set(prefix ${WORK_DIR}/prefix)
file(REMOVE_RECURSE ${WORK_DIR})
run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${prefix})
run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR} -B ${WORK_DIR}/build -DCMAKE_CXX_COMPILER=${CXX}
    -DCMAKE_PREFIX_PATH=${prefix})
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
run(${WORK_DIR}/build/list_devices)

file(GLOB_RECURSE headers RELATIVE ${prefix}/include ${prefix}/include/*.h)
list(LENGTH headers count)
if(count EQUAL 0)
  message(FATAL_ERROR "no header was installed under ${prefix}/include")
endif()
foreach(header IN LISTS headers)
  file(WRITE ${WORK_DIR}/header.cpp "#include <${header}>\n#include <${header}>\n")
  run(${CXX} -std=c++20 -Wall -Wextra -Werror -fsyntax-only -I${prefix}/include ${WORK_DIR}/header.cpp)
endforeach()
if(EXISTS ${prefix}/include/ptynet/ptynet.h)
  file(WRITE ${WORK_DIR}/header.c "#include <ptynet/ptynet.h>\nint main(void) { return 0; }\n")
  run(${CC} -std=c99 -pedantic -Wall -Wextra -Werror -fsyntax-only -I${prefix}/include ${WORK_DIR}/header.c)
endif()
message(STATUS "${count} installed headers compile by themselves")
