# Without those that GCC 12 raises in its own std::string.
set(reducenet_warnings -Wall -Wextra -Wno-missing-field-initializers
  "$<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-stringop-overflow>")

# reducenet_library(NAME sources…): static library reducenet_NAME, exported as reducenet::NAME.
function(reducenet_library name)
  add_library(reducenet_${name} STATIC ${ARGN})
  add_library(reducenet::${name} ALIAS reducenet_${name})
  set_target_properties(reducenet_${name} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  target_compile_features(reducenet_${name} PUBLIC cxx_std_20)
  target_include_directories(reducenet_${name}
    PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_compile_options(reducenet_${name} PRIVATE ${reducenet_warnings})
endfunction()

# reducenet_tests(NAME sources…): one test program for a library, run by ctest.
function(reducenet_tests name)
  if(NOT REDUCENET_TESTS)
    return()
  endif()
  add_executable(${name}_test ${ARGN})
  target_link_libraries(${name}_test PRIVATE reducenet::${name} GTest::gtest_main)
  target_include_directories(${name}_test PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_compile_options(${name}_test PRIVATE ${reducenet_warnings}
    $<$<CONFIG:Release>:-O0>)  # what is tested is optimised; what tests need not be
  target_precompile_headers(${name}_test PRIVATE <gtest/gtest.h>)
  add_test(NAME ${name} COMMAND ${name}_test)
  set_tests_properties(${name} PROPERTIES TIMEOUT 1800)
endfunction()

# reducenet_glue(TARGET): code that waits for others' kernels, optimised a little and compiled in two thirds of the time.
function(reducenet_glue target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
endfunction()
