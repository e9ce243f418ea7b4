# What every room shares: warnings, sanitizers, hardening, and the way a room is declared.
add_library(ferry_build INTERFACE)
target_compile_options(ferry_build INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 sees uninitialized members in the alternatives that a moved std::variant does not hold, and overlap in
  # "text" + std::string (its bug 105651). clang and the sanitizers watch for the real thing.
  target_compile_options(ferry_build INTERFACE -Wno-maybe-uninitialized -Wno-restrict)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(ferry_build INTERFACE -g1)
  target_compile_definitions(ferry_build INTERFACE _FORTIFY_SOURCE=2 _GLIBCXX_ASSERTIONS)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  # SSE4.2 is in every 64-bit x86 of the last fifteen years; CRC-32C needs it to run at memory speed.
  target_compile_options(ferry_build INTERFACE -msse4.2)
endif()
if(FERRY_SANITIZE)
  target_compile_options(ferry_build INTERFACE -fsanitize=${FERRY_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(ferry_build INTERFACE -fsanitize=${FERRY_SANITIZE})
endif()
if(FERRY_FUZZ)
  target_compile_options(ferry_build INTERFACE -fsanitize=fuzzer-no-link)
endif()

# ferry_room(NAME SOURCES ... LINK ... PRIVATE_LINK ...): a static library with include/ public and src/ private.
function(ferry_room name)
  cmake_parse_arguments(ROOM "" "" "SOURCES;LINK;PRIVATE_LINK" ${ARGN})
  add_library(${name} STATIC ${ROOM_SOURCES})
  target_include_directories(${name} PUBLIC
    $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
  target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/src)
  target_link_libraries(${name} PUBLIC ${ROOM_LINK} PRIVATE ${ROOM_PRIVATE_LINK} $<BUILD_INTERFACE:ferry_build>)
  if(FERRY_FAULT_POINTS)
    target_compile_definitions(${name} PRIVATE FERRY_FAULT_POINTS=1)
  endif()
endfunction()

# ferry_compile_faster(TARGET): the two checks of UBSan that make the compiler take a third longer stay out of code
# that reads no bytes of others: tests and the command line. A null pointer ends the program there as well.
function(ferry_compile_faster name)
  if(FERRY_SANITIZE MATCHES "undefined")
    target_compile_options(${name} PRIVATE -fno-sanitize=null,alignment)
  endif()
endfunction()

# The programs worth running under ThreadSanitizer: those with the label tsan.
add_custom_target(tsan_tests)
# What the large tests need, in the release build.
add_custom_target(slow_tests)

# ferry_precompile(TARGET HEADERS...): for large library headers that most files of a target include. Never ours:
# every file of ours has to include what it uses.
function(ferry_precompile name)
  target_precompile_headers(${name} PRIVATE ${ARGN})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${name} PRIVATE -fpch-preprocess)
  endif()
endfunction()

# One precompiled header of GoogleTest for all test programs. It has to be a program, as they are: GCC takes a
# precompiled header only from code of the same kind (-fPIE).
function(ferry_test_headers)
  add_executable(ferry_test_headers ${PROJECT_SOURCE_DIR}/cmake/test_headers.cpp)
  target_link_libraries(ferry_test_headers PRIVATE GTest::gtest GTest::gmock Threads::Threads ferry_build)
  ferry_compile_faster(ferry_test_headers)
  ferry_precompile(ferry_test_headers <gtest/gtest.h> <gmock/gmock.h>)
endfunction()

# ferry_test(NAME LABELS ... SOURCES ... LINK ...): one GoogleTest program, registered as one ctest test.
function(ferry_test name)
  cmake_parse_arguments(T "" "TIMEOUT" "SOURCES;LINK;LABELS;ARGS" ${ARGN})
  add_executable(${name} ${T_SOURCES})
  target_link_libraries(${name} PRIVATE ${T_LINK} GTest::gtest GTest::gmock GTest::gtest_main ferry_build)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/support)
  ferry_compile_faster(${name})
  target_precompile_headers(${name} REUSE_FROM ferry_test_headers)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${name} PRIVATE -fpch-preprocess)
  endif()
  add_test(NAME ${name} COMMAND ${name} ${T_ARGS})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${T_LABELS}" TIMEOUT ${T_TIMEOUT})
  set_property(GLOBAL APPEND PROPERTY FERRY_TEST_SOURCES ${T_SOURCES})
  if("tsan" IN_LIST T_LABELS)
    add_dependencies(tsan_tests ${name})
  endif()
  if("slow" IN_LIST T_LABELS)
    add_dependencies(slow_tests ${name})
  endif()
endfunction()
